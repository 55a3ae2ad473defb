// Where the definitions of a TypeScript or JavaScript project are used, as the compiler's language service says.
// stdin: {"root", "paths", "most"}; stdout: a line [path, name, kind, line, [[path, line], …]] per definition.
const fs = require("fs");
const path = require("path");
const ts = require(process.argv[2]);
const asked = JSON.parse(fs.readFileSync(0, "utf8"));
const known = new Map(asked.paths.map((p) => [path.join(asked.root, p), p]));
const config = ["tsconfig.json", "package/tsconfig.json"].map((p) => path.join(asked.root, p)).find((p) => ts.sys.fileExists(p));
const read = config ? ts.readConfigFile(config, ts.sys.readFile).config || {} : {};
const given = config ? ts.parseJsonConfigFileContent(read, ts.sys, path.dirname(config)).options : {};
const options = {
  allowJs: true, noEmit: true, noLib: true, types: [], target: ts.ScriptTarget.ESNext, jsx: ts.JsxEmit.Preserve,
  module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, allowImportingTsExtensions: true,
};
for (const name of ["baseUrl", "paths", "pathsBasePath"]) if (given[name] !== undefined) options[name] = given[name];
const host = {
  getScriptFileNames: () => [...known.keys()],
  getScriptVersion: () => "1",
  getScriptSnapshot: (f) => (ts.sys.fileExists(f) ? ts.ScriptSnapshot.fromString(fs.readFileSync(f, "utf8")) : undefined),
  getCurrentDirectory: () => asked.root,
  getCompilationSettings: () => options,
  getDefaultLibFileName: () => "",
  fileExists: ts.sys.fileExists, readFile: ts.sys.readFile, readDirectory: ts.sys.readDirectory,
  directoryExists: ts.sys.directoryExists, getDirectories: ts.sys.getDirectories,
};
const service = ts.createLanguageService(host);
const program = service.getProgram();
const found = [];
for (const [file, shown] of known) {
  const source = program.getSourceFile(file);
  if (!source) continue;
  const add = (name, qualified, kind) => found.push([file, shown, qualified, kind, name.getStart()]);
  for (const node of source.statements) {
    if (ts.isFunctionDeclaration(node) && node.name) add(node.name, node.name.text, "function");
    if ((ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) && node.name) add(node.name, node.name.text, "class");
    if (ts.isClassDeclaration(node) && node.name) {
      add(node.name, node.name.text, "class");
      for (const member of node.members)
        if (ts.isMethodDeclaration(member) && ts.isIdentifier(member.name)) add(member.name, `${node.name.text}.${member.name.text}`, "method");
    }
  }
}
let seed = 7;
const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
for (let i = found.length - 1; i > 0; i--) { const j = Math.floor(random() * (i + 1)); [found[i], found[j]] = [found[j], found[i]]; }
for (const [file, shown, name, kind, at] of found.slice(0, asked.most)) {
  const uses = new Map();
  for (const symbol of service.findReferences(file, at) || [])
    for (const use of symbol.references) {
      const source = program.getSourceFile(use.fileName);
      if (!source || !known.has(use.fileName)) continue;
      const line = source.getLineAndCharacterOfPosition(use.textSpan.start).line;
      uses.set(`${use.fileName}:${line}`, [known.get(use.fileName), line]);
    }
  const line = program.getSourceFile(file).getLineAndCharacterOfPosition(at).line;
  console.log(JSON.stringify([shown, name, kind, line, [...uses.values()]]));
}
