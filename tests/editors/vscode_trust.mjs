// vscode_trust.mjs URL FOLDER SHOTS: a folder that is not trusted yet, on a machine without the server.
import { existsSync, writeFileSync } from 'node:fs';
import { open } from './vscode_page.mjs';
const [url, folder, shots] = process.argv.slice(2), { ENVIRONMENT } = process.env;
const { page, claim, end, press, type, bar } = await open(shots);
const offer = () => page.locator('.notifications-toasts').getByText('The glm-lsp server is not installed.');

await page.goto(`${url}/?folder=${folder}`);
await claim('the workbench opens', () => page.locator('.monaco-workbench .part.editor').isVisible(), 90);
await claim('the folder is not trusted', () => page.getByText('Restricted Mode').first().isVisible(), 30);
await claim('the extension says that there is no server', async () => /warning/.test(await bar().getAttribute('class')), 60);
await page.waitForTimeout(3000);
await claim('and offers none', async () => !await offer().isVisible(), 1);

await press('F1');
await type('Workspaces: Manage Workspace Trust');
await press('Enter');
await page.getByRole('button', { name: /^Trust/ }).first().click();
await claim('trusted, it offers one', () => offer().isVisible(), 30);
await claim('nothing is installed unasked', () => !existsSync(ENVIRONMENT), 1);
await page.locator('.notifications-toasts').getByRole('button', { name: 'Install…' }).click();
await page.locator('.quick-input-widget').getByText('Without it').click();
await claim('it tells what it does', () => page.locator('.notifications-toasts').getByText('Installing the glm-lsp server').isVisible());
await claim('the server lies in an environment of its own', () => existsSync(`${ENVIRONMENT}/complete`) && existsSync(`${ENVIRONMENT}/bin/glm-lsp`), 120);
await claim('and runs', async () => !/warning/.test(await bar().getAttribute('class')), 60);

writeFileSync(`${ENVIRONMENT}/complete`, '/before/glm_lsp-0.0.1-py3-none-any.whl');
await press('F1');
await type('GLM: Restart');
await press('Enter');
const other = () => page.locator('.notifications-toasts').getByText('is not the one that this extension carries');
await claim('another one than the extension carries is told', () => other().isVisible(), 30);
await page.locator('.notifications-toasts').getByRole('button', { name: 'Install…' }).click();
await page.locator('.quick-input-widget').getByText('Without it').click();
await claim('the one before makes room', () => existsSync(`${ENVIRONMENT}.before`) && !existsSync(`${ENVIRONMENT}/complete`));
await page.locator('.notifications-toasts').getByRole('button', { name: 'Cancel' }).click();
await claim('and comes back when the new one is cancelled', () => existsSync(`${ENVIRONMENT}/complete`) && !existsSync(`${ENVIRONMENT}.before`), 30);
await end();
