// What the function bodies of a TypeScript or JavaScript project need from other files, as the compiler says.
// stdin: {"root", "paths", "least"}; stdout: a line [path, name, start, end, [[path, line, name], …]] per function.
const path = require("path");
const ts = require(process.argv[2]);
const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
const known = new Map(asked.paths.map((p) => [path.join(asked.root, p), p]));
const options = {
  allowJs: true, noEmit: true, noLib: true, types: [], target: ts.ScriptTarget.ESNext, jsx: ts.JsxEmit.Preserve,
  module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, allowImportingTsExtensions: true,
};
const config = ["tsconfig.json", "package/tsconfig.json"].map((p) => path.join(asked.root, p)).find((p) => ts.sys.fileExists(p));
if (config) {
  const read = ts.readConfigFile(config, ts.sys.readFile).config || {};
  const given = (read.compilerOptions || {});
  if (given.baseUrl) options.baseUrl = path.resolve(path.dirname(config), given.baseUrl);
  if (given.paths) { options.paths = given.paths; options.pathsBasePath = path.dirname(config); }
}
const program = ts.createProgram([...known.keys()], options);
const checker = program.getTypeChecker();
const counted = new Set([
  ts.SyntaxKind.FunctionDeclaration, ts.SyntaxKind.ClassDeclaration, ts.SyntaxKind.InterfaceDeclaration,
  ts.SyntaxKind.EnumDeclaration, ts.SyntaxKind.TypeAliasDeclaration, ts.SyntaxKind.MethodDeclaration,
  ts.SyntaxKind.MethodSignature, ts.SyntaxKind.GetAccessor, ts.SyntaxKind.SetAccessor,
]);

function definition(node) {
  let symbol = checker.getSymbolAtLocation(node);
  if (symbol && symbol.flags & ts.SymbolFlags.Alias) symbol = checker.getAliasedSymbol(symbol);
  const found = (symbol && symbol.declarations) || [];
  if (found.length !== 1 || !found[0].name || !ts.isIdentifier(found[0].name)) return null;
  const top = ts.isVariableDeclaration(found[0]) && ts.isSourceFile(found[0].parent.parent.parent);
  return counted.has(found[0].kind) || top ? found[0] : null;
}

function needs(body, own) {
  const found = new Map();
  const walk = (node) => {
    if (ts.isIdentifier(node)) {
      const at = definition(node);
      const file = at && at.getSourceFile();
      if (at && file !== own && known.has(file.fileName)) {
        const line = file.getLineAndCharacterOfPosition(at.name.getStart()).line;
        found.set(`${file.fileName}:${line}`, [known.get(file.fileName), line, at.name.text]);
      }
    }
    ts.forEachChild(node, walk);
  };
  walk(body);
  return [...found.values()].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1] - b[1]));
}

for (const source of program.getSourceFiles()) {
  const own = known.get(source.fileName);
  if (!own) continue;
  const bytes = (at) => Buffer.byteLength(source.text.slice(0, at));
  const walk = (node) => {
    if (node.body && ts.isBlock(node.body) && node.name && ts.isIdentifier(node.name)) {
      const start = node.body.getStart() + 1, end = node.body.end - 1;
      const lines = source.text.slice(start, end).trim().split("\n").length;
      if (lines >= asked.least) {
        const found = needs(node.body, source);
        if (found.length) console.log(JSON.stringify([own, node.name.text, bytes(start), bytes(end), found]));
        return;
      }
    }
    ts.forEachChild(node, walk);
  };
  walk(source);
}
