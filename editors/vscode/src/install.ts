// Finding the server, or making it an environment of its own: below the extension's storage, only when asked to.
import * as vscode from 'vscode';
import { execFile, spawn } from 'node:child_process';
import { constants, promises as fs } from 'node:fs';
import * as path from 'node:path';
import { recent } from './rules';
import { trusted } from './settings';

const WINDOWS = process.platform === 'win32';
const PYTHONS = ['python3.14', 'python3.13', 'python3.12', 'python3.11', 'python3', 'python'];

/** The program on the PATH. Never one beside the code: an entry that is not absolute depends on where we stand. */
export async function which(name: string): Promise<string | undefined> {
  const endings = WINDOWS ? ['.exe'] : [''];
  for (const folder of (process.env.PATH ?? '').split(path.delimiter).filter(entry => path.isAbsolute(entry))) {
    for (const ending of endings) {
      const file = path.join(folder, name + ending);
      try { await fs.access(file, constants.X_OK); return file; } catch { /* not here */ }
    }
  }
  return undefined;
}

export class Installer {
  constructor(private readonly context: vscode.ExtensionContext, private readonly log: vscode.LogOutputChannel) {}

  /** The command line of the server: the user's own, that of our environment, or the one on the PATH. */
  async command(): Promise<string[] | undefined> {
    const own = trusted<string[]>('command');
    if (own?.length) return own;
    const found = await this.installed() ?? await which('glm-lsp');
    return found ? [found, 'serve'] : undefined;
  }

  /** Ask, and install. True if there is a server now that was not there before. */
  async offer(problem: string): Promise<boolean> {
    const install = 'Install…', choose = 'Open Settings';
    const answer = await vscode.window.showWarningMessage(problem, install, choose);
    if (answer === choose) await vscode.commands.executeCommand('workbench.action.openSettings', 'glm-lsp.command');
    return answer === install && await this.install();
  }

  /** True if it has been installed. */
  async install(): Promise<boolean> {
    const wheel = trusted<string>('package') || await this.bundled();
    if (!wheel) {
      void vscode.window.showErrorMessage('This build of the extension carries no server. Set "glm-lsp.package" in your user '
        + 'settings to a checkout or a wheel of glm-lsp, or install it yourself and set "glm-lsp.command".');
      return false;
    }
    const embedded = { label: 'With the embedded engine', detail: 'Models run on this machine. pip compiles llama.cpp, which needs a C++ compiler and some minutes.' };
    const remote = { label: 'Without it', detail: 'For a remote engine only, at an address that you set.' };
    const chosen = await vscode.window.showQuickPick([embedded, remote], {
      title: 'Install the glm-lsp server in an environment of its own', placeHolder: this.folder, ignoreFocusOut: true,
    });
    if (!chosen) return false;
    const python = await this.python();
    if (!python) {
      void vscode.window.showErrorMessage('There is no Python 3.11 or newer with venv and pip on your PATH. Install one '
        + '(Debian: apt install python3-venv), or set "glm-lsp.python" in your user settings to its full path.');
      return false;
    }
    return vscode.window.withProgress(
      { location: vscode.ProgressLocation.Notification, title: 'Installing the glm-lsp server', cancellable: true },
      async (progress, token) => {
        // An environment is where it was made: the one before makes room, and comes back if this one fails.
        const before = `${this.folder}.before`;
        try {
          if (await this.installed()) {
            await fs.rm(before, { recursive: true, force: true });
            await fs.rename(this.folder, before);
          }
          await this.make(python, chosen === embedded ? `${wheel}[embedded]` : wheel, progress, token);
          await fs.rm(before, { recursive: true, force: true });
          return true;
        } catch (error) {
          await fs.rm(this.folder, { recursive: true, force: true });
          await fs.rename(before, this.folder).catch(() => undefined);
          if (token.isCancellationRequested) return false;
          this.log.error(String(error));
          const show = await vscode.window.showErrorMessage(`The glm-lsp server was not installed: ${(error as Error).message}`, 'Open Log');
          if (show) this.log.show();
          return false;
        }
      });
  }

  private get folder(): string { return path.join(this.context.globalStorageUri.fsPath, 'server'); }
  private get bin(): string { return path.join(this.folder, WINDOWS ? 'Scripts' : 'bin'); }

  /** The server in our environment; an installation that did not come to its end counts for nothing. */
  private async installed(): Promise<string | undefined> {
    const program = path.join(this.bin, WINDOWS ? 'glm-lsp.exe' : 'glm-lsp');
    try {
      await fs.access(path.join(this.folder, 'complete'));
      await fs.access(program, constants.X_OK);
      return program;
    } catch { return undefined; }
  }

  /** Whether a command line is that of our environment, and another wheel has been installed there than we carry. */
  async outdated([program]: readonly string[]): Promise<boolean> {
    if (trusted<string>('package') || program !== await this.installed()) return false;
    const [there, here] = [await fs.readFile(path.join(this.folder, 'complete'), 'utf8'), await this.bundled()];
    return here !== undefined && path.basename(there).replace(/\[.*$/, '') !== path.basename(here);
  }

  private async bundled(): Promise<string | undefined> {
    const folder = this.context.asAbsolutePath('server');
    try {
      const name = (await fs.readdir(folder)).find(file => file.endsWith('.whl'));
      return name && path.join(folder, name);
    } catch { return undefined; }
  }

  private async python(): Promise<string | undefined> {
    const own = trusted<string>('python');
    for (const name of own ? [own] : PYTHONS) {
      const program = path.isAbsolute(name) ? name : await which(name);
      if (!program) continue;
      const version = await new Promise<string>(resolve => execFile(program,
        ['-I', '-c', 'import ensurepip, sys, venv; print("%d.%d" % sys.version_info[:2])'], (error, stdout) => resolve(error ? '' : stdout)));
      if (recent(version)) return program;
    }
    return undefined;
  }

  private async make(
    python: string, requirement: string, progress: vscode.Progress<{ message?: string }>, token: vscode.CancellationToken,
  ): Promise<void> {
    await fs.rm(this.folder, { recursive: true, force: true });
    await fs.mkdir(path.dirname(this.folder), { recursive: true });
    progress.report({ message: 'making its environment' });
    await this.run(python, ['-I', '-m', 'venv', this.folder], token, () => {});
    const own = path.join(this.bin, WINDOWS ? 'python.exe' : 'python');
    const say = (line: string): void => {
      const step = /^(Collecting|Downloading|Building|Installing) [\w.-]*/.exec(line.trim());
      if (step) progress.report({ message: step[0] });
    };
    await this.run(own, ['-I', '-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', requirement], token, say);
    const program = path.join(this.bin, WINDOWS ? 'glm-lsp.exe' : 'glm-lsp');
    await this.run(program, ['--version'], token, () => {});
    await fs.writeFile(path.join(this.folder, 'complete'), requirement);
  }

  /** Run to the end, line by line into the log. Rejects with a sentence. */
  private run(program: string, args: string[], token: vscode.CancellationToken, heard: (line: string) => void): Promise<void> {
    this.log.info([program, ...args].join(' '));
    return new Promise((resolve, reject) => {
      const child = spawn(program, args, { cwd: path.dirname(this.folder), stdio: ['ignore', 'pipe', 'pipe'] });
      const cancel = token.onCancellationRequested(() => child.kill());
      let last = '';
      const take = (data: Buffer): void => {
        for (const line of data.toString().split('\n').filter(text => text.trim())) {
          this.log.info(line.trimEnd());
          last = line.trim();
          heard(line);
        }
      };
      child.stdout.on('data', take);
      child.stderr.on('data', take);
      child.on('error', error => { cancel.dispose(); reject(new Error(`${path.basename(program)} did not start: ${error.message}`)); });
      child.on('close', code => {
        cancel.dispose();
        if (code === 0) resolve(); else reject(new Error(`${path.basename(program)} ended with code ${code}: ${last}`));
      });
    });
  }
}
