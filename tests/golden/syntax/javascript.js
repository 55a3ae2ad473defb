/*
 * Reads and writes.
 */
"use strict";
const { read, write: put } = require("./io"),
  path = require("path");
const parse = require("./parse").json;
require("./polyfill");

exports.load = load;
exports.save = (name) => put(path.join(name));
module.exports.find = function (name) {
  return read(name) || parse(name);
};
module.exports = { load, store: save, extra() {} };

/** Load it. */
async function load(name, options = {}) {
  const { deep } = await import("./deep");
  function inner() {
    return deep(name);
  }
  return inner(options);
}

function* numbers() {
  yield 1;
}

Store.prototype.get = function (key) {
  return this.items[key];
};

class Store extends Base.Kind {
  static count = 0;
  #items = [];
  get size() {
    return this.#items.length;
  }
  add = (item) => push(item, `${item.name}`);
}

export default function () {}
