/** Orders and carts. */
import base, { price as cost, type Money } from "./price";
import * as log from "../log";
import fs = require("fs");
import "./setup";
export { total as sum } from "./total";
export * from "./model";
export * as tax from "./tax";

/**
 * A cart of one customer.
 * @typeParam T what is in it
 */
@Injectable({ providedIn: "root" })
export default class Cart<T> extends base.Box<T> implements Countable {
  size: number = 1;
  #secret = 2;
  /** Make one. */
  constructor(private owner: string) {
    super(owner);
    this.size = count(owner).then(cost);
  }
  static of(): void {
    const text = `a ${log.level} b`;
    text.trim();
  }
  protected abstract weigh(): Money;
  onChange = (event: Event) => this.constructor(event);
}

// Double it.
export const twice = (value: number, { unit, sign }: Options): string => sign + render(value, unit),
  LIMIT = 2;
export const RATES: Record<string, number> = {
  a: 1,
};
const table = {
  key: 1,
  get(name) {
    return name;
  },
};
export namespace Shop.Parts {
  export function open() {}
}
declare module "other" {
  export function wire(): void;
}
type Pair = { left: 1 };
enum Kind {
  Small,
  Large,
}
export interface Countable extends Sized {
  count(of: Money): number;
  readonly label: string;
}
export { table as default2, Kind };
function over(x: string): void;
function over(x: any) {
  for (const [k, v] of Object.entries(x)) {
    console.log(k, v, Kind.Small, x?.deep!.deeper);
  }
  switch (x) {
    case LIMIT:
      return /["'`]/g;
  }
}
