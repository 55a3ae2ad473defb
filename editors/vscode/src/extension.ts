// The VS Code side of glm-lsp: starts `glm-lsp serve`, hands it the settings, and shows what it says. What is
// suggested and changed is the server's affair.
import * as vscode from 'vscode';
import { Bar } from './bar';
import { Previews } from './preview';
import { Server } from './server';
import { machineSettings, SECTION } from './settings';

let server: Server | undefined;

/** Run one of the server's commands for what is selected. */
async function onSelection(kind: string): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (!editor) return;
  if (!server?.running) { void vscode.window.showWarningMessage('glm-lsp does not run. Its log says why.'); return; }
  await vscode.commands.executeCommand(`${SECTION}.${kind}`, {
    uri: editor.document.uri.toString(), range: server.range(editor.selection), version: editor.document.version,
  });
}

async function suggest(): Promise<void> {
  await vscode.commands.executeCommand('workbench.action.focusActiveEditorGroup');
  await vscode.commands.executeCommand('editor.action.inlineSuggest.trigger');
}

/** For other extensions: a request to the server that runs. */
export interface Api { request<T>(method: string, params?: unknown): Promise<T> }

export async function activate(context: vscode.ExtensionContext): Promise<Api> {
  const previews = new Previews(), mine = server = new Server(context, previews), bar = new Bar(mine);
  const commands: Record<string, (...args: never[]) => unknown> = {
    menu: () => bar.menu(),
    suggest,
    refactorSelection: () => onSelection('refactor'),
    explainSelection: () => onSelection('explain'),
    document: () => onSelection('docstring'),
    continueHere: () => onSelection('continue'),
    snooze: async (minutes?: number) => {
      const choices = [5, 15, 60].map(value => ({ label: `${value} minutes`, value }));
      const chosen = minutes ?? (await vscode.window.showQuickPick(choices, { title: 'No suggestions while typing for' }))?.value;
      if (chosen) bar.snooze(chosen);
    },
    resume: () => bar.snooze(0),
    toggleLanguage: () => bar.toggleLanguage(),
    toggleManual: () => bar.toggleManual(),
    clearCache: () => bar.clearCache(),
    openLog: () => mine.log.show(),
    getStarted: () => vscode.commands.executeCommand('workbench.action.openWalkthrough', `${context.extension.id}#start`, false),
    restart: () => mine.restart(),
    install: async () => { if (await mine.installer.install()) await mine.restart(); },
  };
  context.subscriptions.push(
    mine, previews, bar,
    ...Object.entries(commands).map(([name, run]) => vscode.commands.registerCommand(`${SECTION}.${name}`, run)),
    vscode.workspace.onDidChangeConfiguration(async event => {
      if (!machineSettings(context.extension).some(name => event.affectsConfiguration(name))) return;
      const now = await vscode.window.showInformationMessage('This setting counts when the glm-lsp server starts again.', 'Restart Now');
      if (now) await mine.restart();
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => { if (!mine.running) void mine.start(); }),
  );
  await mine.start();
  return { request: (method, params) => mine.request(method, params) };
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}
