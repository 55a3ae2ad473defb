// Two ways to the server. What a workspace may set goes through the protocol; what chooses an engine, an address,
// a key, a model or a path is of `machine` scope and goes through the environment, which the server trusts.
import * as vscode from 'vscode';
import { put, Switches, variable } from './rules';

export const SECTION = 'glm-lsp';
/** Settings of this extension itself; the server knows nothing of them. */
export const OWN = new Set(['command', 'python', 'package', 'languages', 'trigger', 'preview'].map(name => `${SECTION}.${name}`));

type Declared = Record<string, { scope?: string }>;
const declared = (extension: vscode.Extension<unknown>): Declared => extension.packageJSON.contributes.configuration.properties;

/** The names of the settings that take a restart. */
export function machineSettings(extension: vscode.Extension<unknown>): string[] {
  return Object.entries(declared(extension)).filter(([, property]) => property.scope === 'machine').map(([name]) => name);
}

/** The value that the user has set, wherever a workspace may say something else. */
export function trusted<T>(name: string): T | undefined {
  const found = vscode.workspace.getConfiguration().inspect<T>(`${SECTION}.${name}`);
  return found?.globalValue;
}

export function trustedEnvironment(extension: vscode.Extension<unknown>): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const name of machineSettings(extension)) {
    const value = OWN.has(name) ? undefined : trusted<unknown>(name.slice(SECTION.length + 1));
    if (value !== undefined) environment[variable(name)] = Array.isArray(value) ? JSON.stringify(value) : String(value);
  }
  return environment;
}

/** What goes through the protocol. */
export function shared(extension: vscode.Extension<unknown>): Record<string, unknown> {
  const found: Record<string, unknown> = {}, settings = vscode.workspace.getConfiguration();
  for (const [name, property] of Object.entries(declared(extension))) {
    if (property.scope !== 'machine' && !OWN.has(name)) put(found, name.slice(SECTION.length + 1), settings.get(name));
  }
  return found;
}

/** The user's switches; until when they snooze is not a setting. */
export function switches(snoozedUntil: number): Switches {
  const settings = vscode.workspace.getConfiguration(SECTION);
  return {
    languages: settings.get<Record<string, boolean>>('languages', {}), manual: settings.get('trigger') === 'manual', snoozedUntil,
  };
}
