// Puts a wheel of the server into the extension: server/glm_lsp-*.whl. PYTHON (default: python3) needs pip;
// GLM_LSP_SOURCE is the checkout (default: the one that this file lies in).
import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const python = process.env.PYTHON || 'python3', source = process.env.GLM_LSP_SOURCE || `${here}../..`;
rmSync(`${here}server`, { recursive: true, force: true });
const pip = more => execFileSync(python, ['-m', 'pip', 'wheel', '--quiet', '--disable-pip-version-check', '--no-deps', ...more, '--wheel-dir', `${here}server`, source],
  { stdio: 'inherit' });
// Where hatchling is installed, nothing has to be fetched.
let installed = true;
try { execFileSync(python, ['-c', 'import hatchling'], { stdio: 'ignore' }); } catch { installed = false; }
pip(installed ? ['--no-build-isolation'] : []);
console.log(readdirSync(`${here}server`).join('\n'));
