// The status bar: one word of what goes on, and a menu behind it.
import * as vscode from 'vscode';
import { execFile } from 'node:child_process';
import { bar, kept, lines, sibling, Status, wanted } from './rules';
import { Server } from './server';
import { SECTION, switches } from './settings';

const SOON_MS = 1500;

type Item = vscode.QuickPickItem & { run?: () => unknown };

export class Bar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('glm-lsp.status', vscode.StatusBarAlignment.Right, 50);
  private readonly subscriptions: vscode.Disposable[];
  private status: Status | undefined;
  private timer: NodeJS.Timeout | undefined;
  private asking = false;
  private stale = false;

  constructor(private readonly server: Server) {
    this.item.name = 'glm-lsp';
    this.item.command = 'glm-lsp.menu';
    this.draw();
    this.item.show();
    this.subscriptions = [
      this.item,
      server.changed.event(() => this.ask()),
      vscode.window.onDidChangeActiveTextEditor(() => this.draw()),
      vscode.workspace.onDidChangeConfiguration(event => { if (event.affectsConfiguration(SECTION)) this.draw(); }),
    ];
  }

  dispose(): void {
    clearTimeout(this.timer);
    for (const one of this.subscriptions) one.dispose();
  }

  /** Ask the server, one question at a time; while it loads or others work, look again soon. */
  private ask(): void {
    if (this.asking) { this.stale = true; return; }
    this.asking = true;
    void this.server.status().then(status => {
      this.asking = false;
      this.status = status;
      this.draw();
      if (this.stale) { this.stale = false; this.ask(); }
    });
  }

  private draw(): void {
    const now = Date.now(), language = vscode.window.activeTextEditor?.document.languageId ?? '';
    const { text, warns } = bar(this.status ?? (this.server.expected ? { state: 'loading' } : undefined), switches(this.server.snoozedUntil), language, now);
    this.item.text = text;
    this.item.backgroundColor = warns ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
    this.item.tooltip = this.status ? lines(this.status).join('\n') : 'glm-lsp does not run. Click for what to do.';
    clearTimeout(this.timer);
    const moves = this.status?.state === 'loading' || this.status?.state === 'working' || this.status?.state === 'indexing';
    if (moves) this.timer = setTimeout(() => this.ask(), SOON_MS);
    else if (now < this.server.snoozedUntil) this.timer = setTimeout(() => this.draw(), Math.min(30_000, this.server.snoozedUntil - now + 50));
  }

  snooze(minutes: number): void {
    this.server.snoozedUntil = minutes ? Date.now() + minutes * 60_000 : 0;
    if (minutes) void vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
    this.draw();
  }

  async toggleLanguage(): Promise<void> {
    const language = vscode.window.activeTextEditor?.document.languageId;
    if (!language) return;
    const settings = vscode.workspace.getConfiguration(SECTION);
    const languages = settings.inspect<Record<string, boolean>>('languages')?.globalValue ?? {};
    const on = wanted(settings.get<Record<string, boolean>>('languages', {}), language);
    await settings.update('languages', { ...languages, [language]: !on }, vscode.ConfigurationTarget.Global);
  }

  async toggleManual(): Promise<void> {
    const settings = vscode.workspace.getConfiguration(SECTION);
    await settings.update('trigger', settings.get('trigger') === 'manual' ? 'automatic' : 'manual', vscode.ConfigurationTarget.Global);
  }

  async menu(): Promise<void> {
    const status = this.status = await this.server.status();
    this.draw();
    const now = switches(this.server.snoozedUntil), language = vscode.window.activeTextEditor?.document.languageId;
    const line = (label: string): Item => ({ label, kind: vscode.QuickPickItemKind.Separator });
    const item = (label: string, run: () => unknown, description?: string): Item => ({ label, run, description });
    const command = (name: string) => () => vscode.commands.executeCommand(name);
    const items: Item[] = status ? [
      ...lines(status).map((text): Item => ({ label: text, run: command('glm-lsp.openLog') })),
      line('Completions'),
      item('$(sparkle) Suggest here', command('glm-lsp.suggest')),
      ...(Date.now() < now.snoozedUntil
        ? [item('$(bell) Resume', () => this.snooze(0))]
        : [5, 15, 60].map(minutes => item(`$(bell-slash) Snooze for ${minutes} minutes`, () => this.snooze(minutes)))),
      ...(language ? [item(wanted(now.languages, language) ? `$(circle-slash) Turn off for ${language}` : `$(check) Turn on for ${language}`,
        () => this.toggleLanguage())] : []),
      item(now.manual ? '$(zap) Suggest while typing' : '$(keyboard) Suggest only when asked', () => this.toggleManual()),
    ] : [item('$(cloud-download) Install the server…', command('glm-lsp.install'))];
    items.push(
      line('Server'),
      item('$(server) Engine for typing…', () => vscode.commands.executeCommand('workbench.action.openSettings', 'glm-lsp.engine.typing')),
      item('$(trash) Clear cache…', command('glm-lsp.clearCache')),
      item('$(output) Open log', command('glm-lsp.openLog')),
      item('$(refresh) Restart', command('glm-lsp.restart')),
      item('$(book) Get started', command('glm-lsp.getStarted')),
      item('$(gear) Settings', () => vscode.commands.executeCommand('workbench.action.openSettings', '@ext:glm-lsp.glm-lsp')),
    );
    const chosen = await vscode.window.showQuickPick(items, { title: 'glm-lsp' });
    await chosen?.run?.();
  }

  /** Show what lies there, and clear it if that is wanted. */
  async clearCache(): Promise<void> {
    const show = sibling(this.server.command ?? [], 'cache', 'show', '--format', 'json'), clear = sibling(this.server.command ?? [], 'cache', 'clear', '--kind', 'all');
    if (!show || !clear) {
      void vscode.window.showWarningMessage('The cache is cleared by `glm-lsp cache clear --kind all`; "glm-lsp.command" names another program.');
      return;
    }
    const shown = await output(show), found = kept(shown);
    if (!found) { void vscode.window.showErrorMessage(`The cache cannot be shown: ${shown}`); return; }
    const answer = await vscode.window.showWarningMessage('Clear the cache? Everything in it can be made again; that takes time.',
      { modal: true, detail: found.join('\n') }, 'Clear');
    if (answer) void vscode.window.showInformationMessage(await output(clear) || 'The cache is empty.');
  }
}

function output([program, ...args]: string[]): Promise<string> {
  return new Promise(resolve => execFile(program, args, { env: { ...process.env, NO_COLOR: '1' } },
    (error, stdout, stderr) => resolve((error ? stderr || error.message : stdout).trim())));
}
