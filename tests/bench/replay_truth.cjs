// What some lines of a script need from other files, as the TypeScript compiler says, while the files change.
// argv: the compiler, the folder. stdin: a line {"paths", "changed", "path", "first", "last"} each time, lines
// 0-based and inclusive; stdout: a line [[path, line, name], …] for each.
const fs = require("fs");
const path = require("path");
const ts = require(process.argv[2]);
const root = process.argv[3];
const options = {
  allowJs: true, noEmit: true, noLib: true, types: [], target: ts.ScriptTarget.ESNext, jsx: ts.JsxEmit.Preserve,
  module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, allowImportingTsExtensions: true,
};
const versions = new Map();
let paths = [];
const host = {
  ...ts.sys,
  getCompilationSettings: () => options,
  getScriptFileNames: () => paths.map((p) => path.join(root, p)),
  getScriptVersion: (name) => String(versions.get(path.relative(root, name)) || 0),
  getScriptSnapshot: (name) => (fs.existsSync(name) ? ts.ScriptSnapshot.fromString(fs.readFileSync(name, "utf8")) : undefined),
  getCurrentDirectory: () => root,
  getDefaultLibFileName: () => "",
  useCaseSensitiveFileNames: () => true,
};
const service = ts.createLanguageService(host, ts.createDocumentRegistry());
const counted = new Set([
  ts.SyntaxKind.FunctionDeclaration, ts.SyntaxKind.ClassDeclaration, ts.SyntaxKind.InterfaceDeclaration,
  ts.SyntaxKind.EnumDeclaration, ts.SyntaxKind.TypeAliasDeclaration, ts.SyntaxKind.MethodDeclaration,
  ts.SyntaxKind.MethodSignature, ts.SyntaxKind.GetAccessor, ts.SyntaxKind.SetAccessor,
]);

function counts(made) {
  if (counted.has(made.kind)) return true;
  const given = ts.isVariableDeclaration(made) ? made.initializer
    : ts.isPropertyAccessExpression(made) && ts.isBinaryExpression(made.parent) ? made.parent.right : undefined;
  return given !== undefined && (ts.isFunctionLike(given) || ts.isClassLike(given));
}

function needs(asked) {
  paths = asked.paths;
  for (const p of asked.changed) versions.set(p, (versions.get(p) || 0) + 1);
  const program = service.getProgram();
  const checker = program.getTypeChecker();
  const own = program.getSourceFile(path.join(root, asked.path));
  const known = new Set(paths);
  const found = new Map();
  const walk = (node) => {
    const at = own.getLineAndCharacterOfPosition(node.getStart()).line;
    const end = own.getLineAndCharacterOfPosition(node.end).line;
    if (at > asked.last || end < asked.first) return;
    if (ts.isIdentifier(node)) {
      let symbol = checker.getSymbolAtLocation(node);
      if (symbol && symbol.flags & ts.SymbolFlags.Alias) symbol = checker.getAliasedSymbol(symbol);
      const made = (symbol && symbol.declarations) || [];
      if (made.length === 1 && made[0].name && ts.isIdentifier(made[0].name) && counts(made[0])) {
        const file = made[0].getSourceFile();
        const where = path.relative(root, file.fileName);
        if (file !== own && known.has(where)) {
          const line = file.getLineAndCharacterOfPosition(made[0].name.getStart()).line;
          found.set(`${where}:${line}`, [where, line, made[0].name.text]);
        }
      }
    }
    ts.forEachChild(node, walk);
  };
  if (own) walk(own);
  return [...found.values()];
}

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  let said = [];
  try { said = needs(JSON.parse(line)); } catch (error) { process.stderr.write(`${error}\n`); }
  process.stdout.write(JSON.stringify(said) + "\n");
});
