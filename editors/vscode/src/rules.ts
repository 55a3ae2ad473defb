// What is decided without VS Code: plain values in, plain values out, so that it can be tested without an editor.

/** A place in one version of a document. */
export interface Place { uri: string; version: number; line: number; character: number }

/** Whether nothing has happened since: same document, same version, same place. */
export function same(one: Place | undefined, other: Place | undefined): boolean {
  return one !== undefined && other !== undefined && one.uri === other.uri && one.version === other.version
    && one.line === other.line && one.character === other.character;
}

/** What the user has switched off. `languages` is by language id, `*` for all that it does not name. */
export interface Switches { languages: Record<string, boolean>; manual: boolean; snoozedUntil: number }

/** Whether completions are wanted in a language at all. */
export function wanted(languages: Record<string, boolean>, language: string): boolean {
  return languages[language] ?? languages['*'] ?? true;
}

/** Whether to ask the server. Off is off; snoozed and manual still serve who asks by hand. */
export function asks(switches: Switches, language: string, byHand: boolean, now: number): boolean {
  if (!wanted(switches.languages, language)) return false;
  return byHand || (!switches.manual && now >= switches.snoozedUntil);
}

/** An edit of the text between two offsets. */
export interface Edit { start: number; end: number; text: string }

/** The text with all edits in it; they do not overlap, and keep their order where they insert at one place. */
export function edited(text: string, edits: readonly Edit[]): string {
  const parts: string[] = [];
  let at = 0;
  for (const edit of [...edits].sort((a, b) => a.start - b.start || a.end - b.end)) {
    parts.push(text.slice(at, edit.start), edit.text);
    at = edit.end;
  }
  return parts.join('') + text.slice(at);
}

/** Whether to show edits before they are made. */
export function shows(mode: string, edits: readonly Edit[]): boolean {
  return mode === 'always' || (mode !== 'never' && edits.some(edit => edit.end > edit.start));
}

const SPECIAL = /[!-/:-@[-`{-~]/g;
const literal = (text: string): string => text.replace(SPECIAL, char => `&#${char.charCodeAt(0)};`);

/** Code blocks that a preview colours; it draws others, as diagrams or formulas, from text that may name addresses. */
const COLOURED = new Set(('bash c c++ cpp cs csharp css diff go html ini java javascript js json jsx kotlin lua php py python rb '
  + 'rs ruby rust sh shell sql swift text toml ts tsx typescript xml yaml').split(' '));

/**
 * Markdown of a model as a preview may show it. It can carry words out of the repository's text, and a preview
 * fetches images by itself: so no image, no link, no HTML. Code is written anew in a manner of our own, for what
 * we and the preview take for code must not differ.
 */
export function harmless(markdown: string): string {
  const lines = markdown.replace(/\r\n?/g, '\n').split('\n');
  const longest = Math.max(0, ...(markdown.match(/~+/g) ?? []).map(run => run.length));
  const fence = '~'.repeat(Math.max(3, longest + 1));
  const out: string[] = [];
  let until: RegExp | undefined;
  for (const line of lines) {
    const begins = /^\s*(`{3,}|~{3,})[ \t]*([\w+]*)[^`]*$/.exec(line);
    if (until !== undefined) {
      if (until.test(line)) { out.push(fence, ''); until = undefined; } else { out.push(line); }
    } else if (begins) {
      out.push('', fence + (COLOURED.has(begins[2]) ? begins[2] : ''));
      until = new RegExp(`^\\s*${begins[1][0]}{${begins[1].length},}[ \\t]*$`);
    } else {
      out.push(prose(line));
    }
  }
  if (until !== undefined) out.push(fence);
  return out.join('\n');
}

/** One line outside of code blocks: emphasis, lists, headings and `code` stay, the rest is text. */
function prose(line: string): string {
  return line.split(/(`[^`]+`)/).map((part, index) => index % 2
    ? `<code>${literal(part.slice(1, -1))}</code>`
    : part.replace(/[<[\]`&~$]|:{3,}/g, run => `&#${run.charCodeAt(0)};`.repeat(run.length))).join('');
}

/** What `glm-lsp/status` says, as far as it is shown. */
export interface Status {
  state?: string; engine?: string | null; model?: string | null; local?: boolean | null; problem?: string;
  loading?: number | null; files?: number; jobs?: { client: string; state: string }[];
  speed?: { prefill: number; decode: number } | null;
  last?: { cached_tokens?: number | null; evaluated_tokens?: number | null; output_tokens?: number | null;
    decode_seconds?: number | null };
}

/** The lines of the tooltip and of the menu: engine, speed, reuse, queue, index, and what is wrong. */
export function lines(status: Status): string[] {
  const last = status.last ?? {}, found: string[] = [];
  found.push(status.engine
    ? `Engine: ${status.model ?? 'a model'}, ${status.engine}${status.local === false ? ' (not on this machine)' : ''}`
    : 'Engine: none');
  if (status.problem) found.push(status.problem);
  if (typeof status.loading === 'number') found.push(`Loading: ${Math.floor(status.loading * 100)} %`);
  const written = status.speed?.decode ?? (last.output_tokens && last.decode_seconds ? last.output_tokens / last.decode_seconds : 0);
  if (written) {
    found.push(`Speed: ${written.toFixed(1)} tokens/s${status.speed?.prefill ? `, reading ${Math.round(status.speed.prefill)}` : ''}`);
  }
  const prompt = (last.cached_tokens ?? 0) + (last.evaluated_tokens ?? 0);
  if (prompt && typeof last.cached_tokens === 'number') {
    found.push(`Reuse: ${Math.floor(100 * last.cached_tokens / prompt)} % of ${prompt} prompt tokens`);
  }
  const jobs = status.jobs ?? [], waiting = jobs.filter(job => job.state === 'waiting' || job.state === 'paused').length;
  if (jobs.length) found.push(`Queue: ${jobs.length - waiting} at work, ${waiting} waiting`);
  found.push(`Index: ${status.files ?? 0} files`);
  return found;
}

/** The text of the status bar, and whether it is a warning. */
export function bar(status: Status | undefined, switches: Switches, language: string, now: number):
  { text: string; warns: boolean } {
  const state = status?.state ?? 'stopped';
  if (state === 'stopped' || state === 'missing' || state === 'failing') return { text: '$(warning) GLM', warns: true };
  if (language && !wanted(switches.languages, language)) return { text: '$(circle-slash) GLM', warns: false };
  if (now < switches.snoozedUntil) {
    return { text: `$(bell-slash) GLM ${Math.ceil((switches.snoozedUntil - now) / 60_000)} min`, warns: false };
  }
  if (state === 'loading' && typeof status?.loading === 'number') {
    return { text: `$(loading~spin) GLM ${Math.floor(status.loading * 100)} %`, warns: false };
  }
  if (state === 'working' || state === 'indexing' || state === 'loading') return { text: '$(loading~spin) GLM', warns: false };
  return { text: switches.manual ? '$(sparkle) GLM by hand' : '$(sparkle) GLM', warns: false };
}

/** The variable of a `machine` setting: its name as the server knows it, in the environment's manner. */
export function variable(name: string): string {
  return 'GLM_LSP_' + name.slice('glm-lsp.'.length).toUpperCase().replaceAll('.', '_');
}

/** A dotted name and its value, put into nested tables. */
export function put(table: Record<string, unknown>, name: string, value: unknown): void {
  const keys = name.split('.'), last = keys.pop() as string;
  let place = table;
  for (const key of keys) place = (place[key] ??= {}) as Record<string, unknown>;
  place[last] = value;
}

/** Another command of the program that serves; undefined where the command line is not one that we know. */
export function sibling(command: readonly string[], ...args: string[]): string[] | undefined {
  const at = command.lastIndexOf('serve');
  return at > 0 ? [...command.slice(0, at), ...args] : undefined;
}

/** Whether Python's answer `3.12` is one that the server runs with. */
export function recent(version: string): boolean {
  const [major, minor] = version.trim().split('.').map(Number);
  return major === 3 && minor >= 11;
}

/** What `glm-lsp cache show --format json` says, in lines; undefined where it says something else. */
export function kept(output: string): string[] | undefined {
  interface Kept { directory: string; caches: { kind: string; path: string; files: number; bytes: number; problem: string }[] }
  let found: Kept;
  try { found = JSON.parse(output) as Kept; } catch { return undefined; }
  if (!Array.isArray(found?.caches)) return undefined;
  const size = (bytes: number): string => bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  return [`In ${found.directory}:`, ...found.caches.map(one => `${one.kind}: ${one.problem || `${one.files} files, ${size(one.bytes)}`}`)];
}
