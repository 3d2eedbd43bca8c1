// A real relay in its production form: keys made by the tool, one process, a directory of its own.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const START_MS = 30_000;

// Claim budgets have tests of their own; here they would only hide keys.
const LIMITS = ['--claim-pair-burst', '1000', '--claim-target-hourly', '100000'];

export class RelayProcess {
  static async start({ binary, keys }) {
    const relay = new RelayProcess();
    relay.binary = binary;
    relay.dir = mkdtempSync(join(tmpdir(), 'chatctl-interop-'));
    relay.keys = keys ?? join(relay.dir, 'keys.json');
    if (!keys) execFileSync(binary, ['token', 'keys', 'generate', '-o', relay.keys], { stdio: 'pipe' });
    const info = join(relay.dir, 'info.json');
    const serve = ['serve', '--dev', '--dev-info', info, '--keys', relay.keys];
    const where = ['--data-dir', join(relay.dir, 'data'), '--listen', '127.0.0.1:0'];
    relay.process = spawn(binary, [...serve, ...where, ...LIMITS], { stdio: ['ignore', 'ignore', 'pipe'] });
    relay.process.stderr.on('data', (chunk) => (relay.log += chunk));
    const { url, ws_url: wsUrl } = await relay.#ready(info);
    return Object.assign(relay, { url, wsUrl });
  }

  log = '';

  token(account, deviceId) {
    const issue = ['token', 'issue', '--keys', this.keys, '--sub', account, '--dev', String(deviceId)];
    return execFileSync(this.binary, issue, { encoding: 'utf8', stdio: 'pipe' }).trim();
  }

  async stop() {
    const gone = new Promise((resolve) => this.process.once('exit', resolve));
    if (this.process.exitCode === null) {
      this.process.kill('SIGTERM');
      const late = setTimeout(() => this.process.kill('SIGKILL'), START_MS);
      await gone;
      clearTimeout(late);
    }
    rmSync(this.dir, { recursive: true, force: true });
  }

  // The file appears once the relay listens.
  async #ready(path) {
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline && this.process.exitCode === null) {
      try {
        return JSON.parse(readFileSync(path, 'utf8'));
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    this.process.kill('SIGKILL');
    throw new Error(`the relay did not start:\n${this.log}`);
  }
}
