// A real browser reads /docs, /docs/websocket and the single file, in light and dark, wide and narrow.
//
// It must see everything that is described, load nothing from anywhere but the relay, and break no rule of the
// pages' own policy. Screenshots go to target/docs-screenshots.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { RelayProcess } from '../interop/relay_process.mjs';
import { check, isReadable, open, result } from './browser.mjs';

const binary = process.env.CHATCTL ?? resolve(import.meta.dirname, '../../target/debug/chatctl');
const shots = resolve(process.env.CARGO_TARGET_DIR ?? resolve(import.meta.dirname, '../../target'), 'docs-screenshots');
const SIZES = { desktop: { width: 1280, height: 900 }, narrow: { width: 390, height: 844 } };

// What the documents describe must be there to be seen. Closed <details> and their content are not meant.
async function seen(page, id, what) {
  const box = await page.locator(`[id="${id}"]`).boundingBox();
  check(box && box.width > 0 && box.height > 0, `${what} is on ${page.url()}`);
}

function anchor(method, path) {
  return `op-${method}-${path.replace(/^\/+/, '').replace(/[/{}.]/g, '-')}`;
}

async function describedIsSeen(page, { openapi, asyncapi }, parts) {
  if (parts.includes('http')) {
    for (const [path, item] of Object.entries(openapi.paths)) {
      for (const method of Object.keys(item)) await seen(page, anchor(method, path), `${method} ${path}`);
    }
    for (const name of Object.keys(openapi.components.schemas)) await seen(page, `schema-${name}`, name);
  }
  if (parts.includes('websocket')) {
    for (const name of Object.keys(asyncapi.components.messages)) await seen(page, `frame-${name}`, name);
    for (const { code } of asyncapi.channels.session['x-close-codes']) await seen(page, `close-${code}`, `close ${code}`);
    check((await page.locator('figure.spoken').count()) >= 12, `a conversation is on ${page.url()}`);
  }
}

async function keyboardWorks(page) {
  await page.keyboard.press('Tab');
  const first = await page.evaluate(() => document.activeElement.textContent);
  check(first === 'Skip to the content', `the first Tab on ${page.url()} skips: ${first}`);
  await page.keyboard.press('Enter');
  await page.waitForURL((url) => url.hash === '#content');
  check(true, 'the browser went there');
  const link = page.locator('nav ul:not(.pages) a').nth(1);
  await link.focus();
  const style = await link.evaluate((element) => getComputedStyle(element).outlineStyle);
  check(style !== 'none', 'a focused link is outlined');
  const href = await link.getAttribute('href');
  await page.keyboard.press('Enter');
  await page.waitForURL((url) => decodeURIComponent(url.hash) === href);
  check(true, 'the browser went there');
  await page.waitForFunction((id) => {
    const box = document.getElementById(id).getBoundingClientRect();
    return box.top < innerHeight && box.bottom > 0;
  }, href.slice(1));
  await page.keyboard.press('/');
  await page.keyboard.type('zzz');
  check((await page.locator('nav li:visible').count()) <= 2, 'the filter hides what it does not find');
  await page.keyboard.press('Control+A');
  await page.keyboard.press('Delete');
  check((await page.locator('nav li:visible').count()) > 5, 'an empty filter shows all');
}

async function headingsAreInOrder(page) {
  const levels = await page.locator('main :is(h1, h2, h3, h4)').evaluateAll((all) => all.map((h) => Number(h.tagName[1])));
  check(levels.filter((level) => level === 1).length === 1, `one h1 on ${page.url()}`);
  const jumps = levels.filter((level, at) => at > 0 && level > levels[at - 1] + 1);
  check(jumps.length === 0, `no level of headings is left out on ${page.url()}`);
}

async function read(context, documents, { name, url, parts, allowed }, look) {
  const page = await context.newPage();
  const said = [];
  const asked = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  page.on('request', (request) => asked.push(request.url()));
  page.on('response', (response) => response.status() >= 400 && said.push(`${response.status()} ${response.url()}`));
  await page.addInitScript(() => {
    window.violations = [];
    addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(url, { waitUntil: 'load' });
  // First: Tab goes on from where the page was scrolled to.
  await keyboardWorks(page);
  await page.evaluate(() => { document.activeElement.blur(); scrollTo({ top: 0, behavior: 'instant' }); });
  await describedIsSeen(page, documents, parts);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(wide <= 0, `${look} ${name} does not scroll sideways (${wide} px)`);
  await headingsAreInOrder(page);
  await isReadable(page, `${look} ${name}`, 'main *, nav *');
  const file = join(shots, `${name}-${look}.png`);
  await page.screenshot({ path: file });
  console.log(`    screenshot ${file}`);
  await page.locator('section').nth(1).scrollIntoViewIfNeeded();
  await page.evaluate(() => document.querySelectorAll('section')[1].scrollIntoView({ behavior: 'instant' }));
  await page.screenshot({ path: join(shots, `${name}-${look}-further.png`) });
  const outside = asked.filter((target) => !allowed.some((start) => target.startsWith(start)));
  check(outside.length === 0, `${name} asks nobody else: ${outside}`);
  check(said.length === 0, `${name} says nothing on the console: ${said}`);
  const violations = await page.evaluate(() => window.violations);
  check(violations.length === 0, `${name} keeps its policy: ${violations}`);
  await page.close();
}

rmSync(shots, { recursive: true, force: true });
mkdirSync(shots, { recursive: true });
const dir = mkdtempSync(join(tmpdir(), 'chatctl-browser-'));
const relay = await RelayProcess.start({ binary });
try {
  const file = join(dir, 'api.html');
  execFileSync(binary, ['openapi', 'html', '-o', file]);
  check(!/https?:\/\/(?!127\.0\.0\.1)/.test(readFileSync(file, 'utf8').replace(/<pre[^]*?<\/pre>/g, '')), 'one file names no other host');
  const json = async (path) => (await fetch(relay.url + path)).json();
  const documents = { openapi: await json('/openapi.json'), asyncapi: await json('/asyncapi.json') };
  const pages = [
    { name: 'http', url: `${relay.url}/docs`, parts: ['http'], allowed: [relay.url] },
    { name: 'websocket', url: `${relay.url}/docs/websocket`, parts: ['websocket'], allowed: [relay.url] },
    { name: 'one-file', url: pathToFileURL(file).href, parts: ['http', 'websocket'], allowed: [pathToFileURL(file).href, 'data:,'] },
  ];
  for (const colorScheme of ['light', 'dark']) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      const context = await open(join(dir, `${colorScheme}-${size}`), { colorScheme, viewport });
      for (const page of pages) await read(context, documents, page, `${size}-${colorScheme}`);
      await context.close();
    }
  }
  // Without a script the pages are whole, too.
  const context = await open(join(dir, 'plain'), { javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`${relay.url}/docs/websocket`);
  await seen(page, 'frame-hello', 'hello, without a script');
  await context.close();
} finally {
  await relay.stop();
  rmSync(dir, { recursive: true, force: true });
}
process.exit(result());
