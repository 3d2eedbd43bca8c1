// What both tests of pages need: a browser, checks that go on after a fault, and the measure of readable letters.

import { chromium } from 'playwright-core';

const browserPath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const BROWSER = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-dev-shm-usage'];
const QUIET = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];

let checks = 0;
const faults = [];

export function check(is, what) {
  checks += 1;
  if (!is) {
    faults.push(what);
    console.error(`    NOT SO: ${what}`);
  }
}

export function open(profile, options) {
  return chromium.launchPersistentContext(profile, { executablePath: browserPath, headless: true, args: [...BROWSER, ...QUIET], ...options });
}

// Says how many checks passed, and what the process is to end with.
export function result() {
  console.log(`    ${checks - faults.length} passed, ${faults.length} failed`);
  return faults.length === 0 ? 0 : 1;
}

// Text on its background, by WCAG 2.2: 4.5 to 1.
export async function isReadable(page, name, elements) {
  const poor = await page.evaluate((elements) => {
    const light = (color) => {
      const parts = color.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255);
      const [r, g, b] = parts.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const color = getComputedStyle(at).backgroundColor;
        if (!/, 0\)$/.test(color)) return color;
      }
      return 'rgb(255, 255, 255)';
    };
    const worst = new Map();
    for (const element of document.querySelectorAll(elements)) {
      if (element.matches('title, desc')) continue;
      if (![...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
      const style = getComputedStyle(element);
      // Letters of a picture are filled.
      const ink = element instanceof SVGElement ? style.fill : style.color;
      const [a, b] = [light(ink), light(ground(element))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) worst.set(`${element.tagName}.${element.getAttribute('class')}`, ratio.toFixed(2));
    }
    return [...worst];
  }, elements);
  check(poor.length === 0, `${name} is readable: ${JSON.stringify(poor)}`);
}
