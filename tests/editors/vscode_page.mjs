// A page of headless Chromium and claims about it: `ok` or `FAIL` for each, and a count at the end.
import { createRequire } from 'node:module';
const { chromium } = createRequire(process.env.PLAYWRIGHT + '/')('playwright-core');

export async function open(shots, said = () => '') {
  const browser = await chromium.launchPersistentContext(process.env.CHROME_DATA, {
    executablePath: '/usr/bin/chromium', headless: true, viewport: { width: 1180, height: 720 },
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  const page = browser.pages()[0];
  page.setDefaultNavigationTimeout(180_000);
  let passed = 0, failed = 0;

  // What VS Code itself has to say stands in its notification centre.
  async function explainFailure() {
    await page.screenshot({ path: `${shots}/failed-${failed}.png` });
    await page.locator('.part.statusbar #status\\.notifications, .part.statusbar [id*="notifications"]').first().click().catch(() => {});
    await page.waitForTimeout(500);
    console.log((await page.locator('.notifications-center').innerText().catch(() => '')).replaceAll('\n', ' '));
    await page.keyboard.press('Escape');
  }
  async function claim(name, holds, seconds = 15) {
    const begun = Date.now(), end = begun + seconds * 1000;
    let ok = false, why = '';
    while (!ok && Date.now() < end) {
      try { ok = Boolean(await holds()); } catch (error) { why = String(error).split('\n')[0]; }
      if (!ok) await page.waitForTimeout(150);
    }
    if (ok) passed++; else { failed++; await explainFailure(); }
    console.log(`${ok ? 'ok  ' : 'FAIL'} ${name}${ok ? '' : ' ' + why + ' ' + said()} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
    return ok;
  }
  async function end() {
    console.log(`${passed} passed, ${failed} failed`);
    await browser.close();
    process.exit(failed ? 1 : 0);
  }
  return {
    page, claim, end,
    press: async (...keys) => { for (const key of keys) await page.keyboard.press(key); },
    type: text => page.keyboard.type(text, { delay: 60 }),
    ghost: () => page.locator('.ghost-text-decoration, .ghost-text').first(),
    bar: () => page.locator('.part.statusbar [id*="glm-lsp.status"]').first(),
  };
}
