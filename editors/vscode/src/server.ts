// The connection to `glm-lsp serve`: its life, and what this side adds to the protocol.
import * as vscode from 'vscode';
import {
  ExecuteCommandSignature, LanguageClient, LanguageClientOptions, Middleware, ServerOptions, State,
} from 'vscode-languageclient/node';
import { Installer } from './install';
import { Previews } from './preview';
import { asks, Place, same, Status } from './rules';
import { SECTION, shared, switches, trustedEnvironment } from './settings';

const { Invoke } = vscode.InlineCompletionTriggerKind;

interface Outcome { status?: string; text?: string }

export class Server implements vscode.Disposable {
  readonly changed = new vscode.EventEmitter<void>();
  readonly log = vscode.window.createOutputChannel('glm-lsp', { log: true });
  readonly installer: Installer;
  snoozedUntil = 0;
  /** The command line that serves, or was tried last. */
  command: string[] | undefined;
  private client: LanguageClient | undefined;
  private asked: Place | undefined;
  private commands = 0;
  private starting: Promise<void> | undefined;
  private begun = false;

  constructor(private readonly context: vscode.ExtensionContext, private readonly previews: Previews) {
    this.installer = new Installer(context, this.log);
  }

  /** It may be there soon. */
  get expected(): boolean { return this.starting !== undefined || !this.begun; }

  get running(): boolean { return this.client?.state === State.Running; }

  /** Rejects where it does not run. */
  async request<T>(method: string, params?: unknown): Promise<T> {
    if (!this.client || !this.running) throw new Error('The glm-lsp server does not run.');
    return this.client.sendRequest<T>(method, params);
  }

  /** What it says of itself; undefined where it does not run. */
  async status(): Promise<Status | undefined> {
    return this.request<Status>('glm-lsp/status').catch(() => undefined);
  }

  /** Start, or offer what is missing. Whoever calls in the meantime waits for the same start. */
  start(): Promise<void> {
    this.begun = true;
    return this.starting ??= this.begin().finally(() => { this.starting = undefined; this.changed.fire(); });
  }

  async stop(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    if (client?.needsStop()) await client.stop().catch(error => this.log.warn(`It did not stop in peace: ${error}`));
    await client?.dispose().catch(() => undefined);
  }

  async restart(): Promise<void> {
    await this.starting;
    await this.stop();
    await this.start();
  }

  /** The protocol's range for a command's argument. */
  range(range: vscode.Range): unknown {
    return this.client?.code2ProtocolConverter.asRange(range);
  }

  dispose(): void {
    this.changed.dispose();
    this.log.dispose();
  }

  private async begin(): Promise<void> {
    this.command = await this.installer.command();
    if (this.command === undefined) {
      this.offerLater('The glm-lsp server is not installed.');
      return;
    }
    if (await this.installer.outdated(this.command)) this.offerLater('The installed glm-lsp server is not the one that this extension carries.');
    const [program, ...args] = this.command;
    const server: ServerOptions = {
      command: program, args, options: { env: { ...process.env, ...trustedEnvironment(this.context.extension) } },
    };
    const options: LanguageClientOptions = {
      documentSelector: [{ scheme: 'file' }, { scheme: 'untitled' }],
      outputChannel: this.log,
      initializationOptions: {
        [SECTION]: shared(this.context.extension), results: true, prompts: true, inlineReady: true, statusChanges: true,
      },
      middleware: this.middleware(),
    };
    const client = this.client = new LanguageClient(SECTION, 'glm-lsp', server, options);
    client.onDidChangeState(({ newState }) => {
      void vscode.commands.executeCommand('setContext', 'glm-lsp.running', newState === State.Running);
      this.changed.fire();
    });
    client.onNotification('glm/statusChanged', () => this.changed.fire());
    client.onNotification('glm/inlineReady', ({ uri }: { uri: string }) => this.askAgain(uri));
    try {
      await client.start();
    } catch (error) {
      if (this.client !== client) return;
      this.client = undefined;
      this.log.error(String(error));
      this.offerLater(`The glm-lsp server did not start: '${program}' failed (${(error as Error).message ?? error}).`);
    }
  }

  /** Not awaited: nobody waits for the answer to a notification. Nothing is offered because of an untrusted folder. */
  private offerLater(problem: string): void {
    if (!vscode.workspace.isTrusted) {
      this.log.warn(`${problem} Installing is offered in trusted workspaces, and by the command "GLM: Install the Server".`);
      return;
    }
    void this.installer.offer(problem).then(async done => { if (done) await this.restart(); });
  }

  private middleware(): Middleware {
    const extension = this.context.extension;
    return {
      provideInlineCompletionItems: (document, position, context, token, next) => {
        if (!this.wants(document, context.triggerKind === Invoke)) return undefined;
        this.asked = placeOf(document, position);
        return next(document, position, context, token);
      },
      provideCompletionItem: (document, position, context, token, next) =>
        this.wants(document, false) ? next(document, position, context, token) : undefined,
      executeCommand: (command, args, next) => this.execute(command, args, next),
      workspace: {
        configuration: params => params.items.map(() => shared(extension)),
        didChangeConfiguration: async () => {
          await this.client?.sendNotification('workspace/didChangeConfiguration', { settings: { [SECTION]: shared(extension) } });
        },
        handleApplyEdit: (params, next) => this.client
          ? this.previews.apply(this.client, params, async again => await next(again, undefined as never) as never)
          : { applied: false, failureReason: 'the server was stopped' },
      },
    };
  }

  private wants(document: vscode.TextDocument, byHand: boolean): boolean {
    return asks(switches(this.snoozedUntil), document.languageId, byHand, Date.now());
  }

  /** The engine has answered after all: ask again, if the caret still stands where it was asked from. */
  private async askAgain(uri: string): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!editor || !editor.selection.isEmpty || !this.wants(editor.document, false)) return;
    if (this.client?.code2ProtocolConverter.asUri(editor.document.uri) !== uri) return;
    if (same(this.asked, placeOf(editor.document, editor.selection.active))) {
      // What is shown stays shown as long as it fits, whatever else is known by then.
      await vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
      await vscode.commands.executeCommand('editor.action.inlineSuggest.trigger');
    }
  }

  /** The server refuses to guess what to do: where a refactor has no instruction, ask for one. */
  private async execute(command: string, args: unknown[], next: ExecuteCommandSignature): Promise<unknown> {
    let argument = args[0] as { instruction?: string; argument?: string; title?: string } | undefined;
    if (command === `${SECTION}.refactor` && argument && !argument.instruction && !argument.argument) {
      const instruction = await vscode.window.showInputBox({
        title: 'Refactor by instruction', prompt: 'What should change?', placeHolder: 'e.g. return early instead of nesting',
      });
      if (!instruction?.trim()) return null;
      argument = { ...argument, instruction: instruction.trim() };
    }
    this.commands++;
    try {
      const outcome = await next(command, argument ? [argument] : args) as Outcome | null;
      if (outcome?.status === 'explained' && outcome.text) await this.previews.explain(argument?.title || 'Explanation', outcome.text);
      return outcome;
    } finally {
      if (--this.commands === 0) this.previews.discardAll();
      this.changed.fire();
    }
  }
}

function placeOf(document: vscode.TextDocument, position: vscode.Position): Place {
  return { uri: document.uri.toString(), version: document.version, line: position.line, character: position.character };
}
