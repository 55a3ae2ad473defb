// What is shown before it counts: explanations, and edits that replace code. Virtual documents of the scheme `glm-lsp`.
import * as vscode from 'vscode';
import type { ApplyWorkspaceEditParams, ApplyWorkspaceEditResult, LanguageClient, TextDocumentEdit } from 'vscode-languageclient/node';
import { edited, harmless, shows } from './rules';
import { SECTION } from './settings';

const KEEP = 20;

interface Pending { decide: (apply: boolean) => void }

export class Previews implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly texts = new Map<string, string>();
  private readonly pending = new Map<string, Pending>();
  private readonly subscriptions: vscode.Disposable[];
  private number = 0;

  constructor() {
    this.subscriptions = [
      vscode.workspace.registerTextDocumentContentProvider(SECTION, this),
      vscode.window.tabGroups.onDidChangeTabs(({ closed }) => {
        for (const tab of closed) {
          if (tab.input instanceof vscode.TabInputTextDiff) this.pending.get(tab.input.modified.toString())?.decide(false);
        }
      }),
      vscode.commands.registerCommand('glm-lsp.applyPreview', () => this.answer(true)),
      vscode.commands.registerCommand('glm-lsp.discardPreview', () => this.answer(false)),
    ];
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.toString()) ?? 'This text is not kept any more: ask for it again.';
  }

  dispose(): void {
    this.discardAll();
    for (const one of this.subscriptions) one.dispose();
  }

  /** Show a model's text as a Markdown preview beside the code. */
  async explain(title: string, text: string): Promise<void> {
    const uri = this.keep(`${title}.md`, `# ${harmless(title)}\n\n${harmless(text)}\n`);
    try {
      await vscode.commands.executeCommand('markdown.showPreviewToSide', uri);
    } catch { // the built-in Markdown extension may be switched off
      await vscode.window.showTextDocument(uri, { preview: true, viewColumn: vscode.ViewColumn.Beside });
    }
  }

  /** Make the server's edit, after a look at it where the user wants one. */
  async apply(
    client: LanguageClient, params: ApplyWorkspaceEditParams,
    next: (params: ApplyWorkspaceEditParams) => PromiseLike<ApplyWorkspaceEditResult> | ApplyWorkspaceEditResult,
  ): Promise<ApplyWorkspaceEditResult> {
    const changes = params.edit.documentChanges ?? [];
    const change = changes[0] as TextDocumentEdit;
    // Edits of several files ask for VS Code's own refactoring preview.
    if (changes.length !== 1 || !('edits' in change)) return next(params);
    const uri = client.protocol2CodeConverter.asUri(change.textDocument.uri);
    const document = await vscode.workspace.openTextDocument(uri);
    const converted = await client.protocol2CodeConverter.asTextEdits(change.edits as never);
    const edits = (converted ?? []).map((edit: vscode.TextEdit) => ({
      start: document.offsetAt(edit.range.start), end: document.offsetAt(edit.range.end), text: edit.newText,
    }));
    const mode = vscode.workspace.getConfiguration(SECTION).get('preview', 'replacements');
    if (!shows(mode, edits)) return next(params);
    const name = uri.path.slice(uri.path.lastIndexOf('/') + 1);
    const proposed = this.keep(name, edited(document.getText(), edits));
    const decision = new Promise<boolean>(resolve => this.pending.set(proposed.toString(), { decide: resolve }));
    this.tell();
    await vscode.commands.executeCommand('vscode.diff', uri, proposed, `${name}: ${params.label ?? 'proposed edit'}`, { preview: false });
    const apply = await decision;
    this.pending.delete(proposed.toString());
    this.tell();
    await this.close(proposed);
    return apply ? next(params) : { applied: false, failureReason: 'discarded' };
  }

  /** No command of ours runs any more: what is still open belongs to none. */
  discardAll(): void {
    for (const { decide } of this.pending.values()) decide(false);
  }

  private answer(apply: boolean): void {
    const shown = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
    const key = shown instanceof vscode.TabInputTextDiff ? shown.modified.toString() : '';
    const meant = this.pending.get(key) ?? (this.pending.size === 1 ? [...this.pending.values()][0] : undefined);
    meant?.decide(apply);
  }

  private tell(): void {
    void vscode.commands.executeCommand('setContext', 'glm-lsp.previewing', this.pending.size > 0);
  }

  private async close(uri: vscode.Uri): Promise<void> {
    const tabs = vscode.window.tabGroups.all.flatMap(group => group.tabs);
    const mine = tabs.filter(tab => tab.input instanceof vscode.TabInputTextDiff && tab.input.modified.toString() === uri.toString());
    if (mine.length) await vscode.window.tabGroups.close(mine, true);
  }

  private keep(name: string, text: string): vscode.Uri {
    const uri = vscode.Uri.from({ scheme: SECTION, path: `/${++this.number}/${name.replace(/[\\/?#\p{C}]/gu, ' ')}` });
    this.texts.set(uri.toString(), text);
    for (const old of [...this.texts.keys()].slice(0, -KEEP)) if (!this.pending.has(old)) this.texts.delete(old);
    return uri;
  }
}
