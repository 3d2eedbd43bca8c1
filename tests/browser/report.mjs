// A real browser reads the page of a report from a file, in light and dark, wide and narrow, on paper.
//
// It must ask nobody for anything, say nothing on the console, show every chart with its title, fit the screen, and be
// readable. Screenshots go to target/report-screenshots.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { check, isReadable, open, result } from './browser.mjs';

const target = resolve(process.env.CARGO_TARGET_DIR ?? resolve(import.meta.dirname, '../../target'));
const renderer = process.env.CHATCTL_RENDER ?? join(target, 'debug/examples/render');
const sample = resolve(import.meta.dirname, '../../fixtures/bench/report-v1.json');
const shots = join(target, 'report-screenshots');
const SIZES = { wide: { width: 1280, height: 900 }, tablet: { width: 768, height: 1024 }, narrow: { width: 360, height: 780 } };
const CHARTS = ['percentiles', 'throughput', 'latency', 'heat', 'connections', 'errors', 'processors', 'memory'];

async function chartsAreSeen(page, look) {
  for (const id of CHARTS) {
    const pictures = page.locator(`#${id} svg.chart:visible`);
    check((await pictures.count()) === 1, `${look}: one picture of ${id} is shown`);
    const told = await pictures.first().evaluate((svg) => {
      const box = svg.getBoundingClientRect();
      const named = svg.getAttribute('aria-labelledby').split(' ').map((name) => document.getElementById(name));
      const letters = svg.querySelector('text').getBoundingClientRect();
      const outside = [...svg.querySelectorAll('text')].map((text) => text.getBoundingClientRect());
      return {
        width: box.width,
        height: box.height,
        letter: letters.height,
        names: named.map((element) => `${element?.tagName}:${element?.textContent.trim() !== ''}`).join(),
        drawn: [...svg.querySelectorAll('path.line, path.bars, path.cells')].some((path) => path.getBBox().width > 0 && path.getBBox().height > 0),
        hanging: outside.filter((text) => text.left < box.left - 1 || text.right > box.right + 1 || text.bottom > box.bottom + 1).length,
      };
    });
    check(told.width > 250 && told.height > 150, `${look}: ${id} has a size: ${told.width} x ${told.height}`);
    check(told.letter > 10 && told.letter < 26, `${look}: the letters of ${id} can be read: ${told.letter} px`);
    check(told.names === 'title:true,desc:true', `${look}: ${id} has a title and says what it shows: ${told.names}`);
    check(told.drawn, `${look}: something is drawn in ${id}`);
    check(told.hanging === 0, `${look}: no letter of ${id} hangs over its edge`);
  }
}

async function fits(page, look) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(wide <= 0, `${look} does not scroll sideways (${wide} px)`);
  const over = await page.evaluate(() => {
    const scrolls = (element) => element.closest('.table') !== null;
    const all = [...document.querySelectorAll('body *')].filter((element) => !(element instanceof SVGElement) && !scrolls(element));
    return all.filter((element) => element.getBoundingClientRect().right > innerWidth + 1 || element.scrollWidth > element.clientWidth + 2 && getComputedStyle(element).display !== 'inline')
      .map((element) => `${element.tagName}.${element.className}`);
  });
  check(over.length === 0, `${look}: nothing is wider than its place: ${over}`);
}

async function read(context, file, look) {
  const page = await context.newPage();
  const said = [];
  const asked = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  page.on('request', (request) => asked.push(request.url()));
  await page.goto(file, { waitUntil: 'load' });
  await chartsAreSeen(page, look);
  await fits(page, look);
  await isReadable(page, look, 'header *, main *, footer *');
  const shot = join(shots, `${look}.png`);
  await page.screenshot({ path: shot, fullPage: true });
  console.log(`    screenshot ${shot}`);
  // Numbers stand under each chart, and opening all of them breaks nothing.
  const summaries = page.locator('summary');
  check((await summaries.count()) === CHARTS.length, `${look}: every chart has its numbers`);
  for (const summary of await summaries.all()) await summary.click();
  check((await page.locator('details .table tbody tr:visible').count()) > 100, `${look}: the numbers are shown`);
  await fits(page, `${look}, all open`);
  const hints = await page.locator('.hint title').evaluateAll((all) => all.filter((title) => title.textContent.includes('\n')).length);
  check(hints > 100, `${look}: points say what they are: ${hints}`);
  const outside = asked.filter((url) => url !== file && url !== 'data:,');
  check(outside.length === 0, `${look} asks nobody: ${outside}`);
  check(said.length === 0, `${look} says nothing on the console: ${said}`);
  await page.close();
}

rmSync(shots, { recursive: true, force: true });
mkdirSync(shots, { recursive: true });
const dir = mkdtempSync(join(tmpdir(), 'chatctl-report-'));
try {
  const pages = { report: [], compared: [sample] };
  for (const [name, base] of Object.entries(pages)) {
    execFileSync(renderer, [sample, join(dir, `${name}.html`), ...base], { stdio: 'ignore' });
  }
  const url = (name) => pathToFileURL(join(dir, `${name}.html`)).href;
  for (const colorScheme of ['light', 'dark']) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      const context = await open(join(dir, `${colorScheme}-${size}`), { colorScheme, viewport });
      for (const name of Object.keys(pages)) await read(context, url(name), `${name}-${size}-${colorScheme}`);
      await context.close();
    }
  }
  const context = await open(join(dir, 'paper'), { colorScheme: 'light' });
  const page = await context.newPage();
  await page.goto(url('report'));
  check((await page.locator('script').count()) === 0, 'there is no script');
  const levels = await page.locator(':is(h1, h2, h3)').evaluateAll((all) => all.map((heading) => Number(heading.tagName[1])));
  check(levels.filter((level) => level === 1).length === 1, 'there is one h1');
  check(levels.every((level, at) => at === 0 || level <= levels[at - 1] + 1), 'no level of headings is left out');
  const paper = await page.pdf({ format: 'A4', path: join(shots, 'report.pdf'), printBackground: false });
  check(paper.length > 20_000, 'it can be printed');
  await context.close();
} finally {
  rmSync(dir, { recursive: true, force: true });
}
process.exit(result());
