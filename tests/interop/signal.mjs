#!/usr/bin/env node
// Official Signal clients talk through the relay: real PQXDH bundles, real ratchets, and the relay's
// documented API and nothing else. Test only, never shipped: libsignal is AGPL.
//
//   CHATCTL=target/debug/chatctl node signal.mjs [--keys FILE]    against the real relay
//   node signal.mjs --selftest                                    against a stand-in, to try the crypto
//
// Prints "N passed, 0 failed"; exits 1 when anything failed.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';

import { FakeRelay } from './fake_relay.mjs';
import { RelayProcess } from './relay_process.mjs';
import { LAST_RESORT, PRE_KEY, SignalDevice, WHISPER } from './signal_device.mjs';
import { Transport } from './transport.mjs';

const FULL = { ec: 20, kem: 5 };

// A phone: one device, its transport, and the loop that every Signal app has around a send.
class Phone {
  static async install(relay, account, deviceId, pools = FULL) {
    const phone = new Phone();
    phone.signal = new SignalDevice(account, deviceId);
    const token = relay.token(account, deviceId);
    phone.transport = new Transport({ url: relay.url, wsUrl: relay.wsUrl, token, account, deviceId });
    await phone.transport.register(phone.signal.registrationId);
    phone.counts = await phone.transport.publish(await phone.signal.keyset(pools));
    return phone;
  }

  async connect() {
    this.socket = await this.transport.connect();
    return this;
  }

  // Sends to every device of an account. Answers what was refused on the way, and what went out.
  async send(account, text, clientMsgId = randomBytes(16).toString('base64')) {
    const refusals = [];
    if (this.signal.peers(account).length === 0) await this.#claim(account, ['*']);
    for (let round = 0; round < 3; round += 1) {
      const peers = this.signal.peers(account);
      const parts = [];
      for (const deviceId of peers) parts.push(await this.signal.encrypt(account, deviceId, text));
      const { ok, err } = await this.socket.send(account, parts, clientMsgId);
      if (ok) return { refusals, ok, parts, clientMsgId };
      assert.equal(err.code, 'device_mismatch', JSON.stringify(err));
      const { missing = [], extra = [], stale = [] } = err;
      refusals.push({ missing, extra, stale });
      [...extra, ...stale].forEach((deviceId) => this.signal.forget(account, Number(deviceId)));
      if (missing.length + stale.length > 0) await this.#claim(account, [...missing, ...stale]);
    }
    throw new Error(`refused three times: ${JSON.stringify(refusals)}`);
  }

  // Reads, decrypts and acks. Answers {text, kind, from} of each.
  async read(count) {
    const mail = await this.socket.mail(count);
    const read = [];
    for (const { from, kind, payload } of mail) {
      read.push({ text: await this.signal.decrypt(from, kind, payload), kind, from });
    }
    this.socket.ack(mail);
    return read;
  }

  async texts(count) {
    return (await this.read(count)).map(({ text }) => text);
  }

  async #claim(account, devices) {
    const claimed = await this.transport.claim(account, devices);
    assert.notEqual(claimed.length, 0, `no keys of ${account}`);
    for (const [deviceId, keys] of claimed) await this.signal.open(account, deviceId, keys);
    this.claimed = claimed;
  }
}

const stories = {
  async 'a bundle of every kind of key is published and counted'({ ada, ben }) {
    for (const { counts } of [ada, ben]) assert.deepEqual(counts, { ec: 20, spk: 0, kem: 5 });
  },

  async 'two devices talk both ways while both are there'({ ada, ben }) {
    await Promise.all([ada.connect(), ben.connect()]);
    await ada.send('ben', 'first contact');
    const [first] = await ben.read(1);
    const from = { account: 'ada', deviceId: '1' };
    assert.deepEqual(first, { text: 'first contact', kind: PRE_KEY, from });
    for (let round = 0; round < 20; round += 1) {
      await ben.send('ada', `to ada ${round}`);
      assert.deepEqual(await ada.texts(1), [`to ada ${round}`]);
      await ada.send('ben', `to ben ${round}`);
      const [reply] = await ben.read(1);
      assert.deepEqual([reply.text, reply.kind], [`to ben ${round}`, WHISPER]);
    }
  },

  async 'mail for a device that is away waits in order'({ ada, ben }) {
    await ben.socket.close();
    const texts = Array.from({ length: 10 }, (_, number) => `while away ${number}`);
    for (const text of texts) await ada.send('ben', text);
    await ben.connect();
    assert.equal(ben.socket.hello.pending, '10');
    assert.deepEqual(await ben.texts(10), texts);
    await ben.socket.queueEmpty();
  },

  async 'a send that is tried again arrives once'({ ada, ben }) {
    const { ok, parts, clientMsgId } = await ada.send('ben', 'once');
    const again = await ada.socket.send('ben', parts, clientMsgId);
    assert.equal(again.ok.duplicate, true);
    assert.deepEqual(again.ok.envelopeIds, ok.envelopeIds);
    await ada.send('ben', 'after it');
    assert.deepEqual([...(await ben.texts(1)), ...(await ben.texts(1))], ['once', 'after it']);
  },

  async 'a second device is found out by the first send and gets everything'(cast) {
    const { relay, ada, ben } = cast;
    cast.tablet = await (await Phone.install(relay, 'ben', 2)).connect();
    const { refusals } = await ada.send('ben', 'to both');
    assert.deepEqual(refusals, [{ missing: ['2'], extra: [], stale: [] }]);
    assert.deepEqual(await ben.texts(1), ['to both']);
    assert.deepEqual(await cast.tablet.texts(1), ['to both']);
    await cast.tablet.send('ada', 'from the tablet');
    const [reply] = await ada.read(1);
    assert.deepEqual(reply.from, { account: 'ben', deviceId: '2' });
    assert.equal(reply.text, 'from the tablet');
  },

  async 'a device that was installed again gets new mail only'(cast) {
    const { relay, ada, tablet } = cast;
    const old = cast.ben.socket;
    await ada.send('ben', 'for the old installation');
    await old.mail(1);
    assert.deepEqual(await tablet.texts(1), ['for the old installation']);
    cast.ben = await Phone.install(relay, 'ben', 1);
    assert.equal(await old.closed, 4410);
    await cast.ben.connect();
    const { refusals } = await ada.send('ben', 'for the new one');
    assert.deepEqual(refusals, [{ missing: [], extra: [], stale: ['1'] }]);
    assert.deepEqual(await cast.ben.texts(1), ['for the new one']);
    assert.deepEqual(await tablet.texts(1), ['for the new one']);
    await cast.ben.send('ada', 'here again');
    assert.deepEqual(await ada.texts(1), ['here again']);
  },

  async 'when one-time keys run out the last resort serves everybody'({ relay, ada, ben, tablet }) {
    const cleo = await (await Phone.install(relay, 'cleo', 1, { ec: 2, kem: 1 })).connect();
    const ids = [];
    for (const caller of [ada, ben, tablet]) {
      await caller.send('cleo', `from ${caller.signal.account}.${caller.signal.deviceId}`);
      const [[, { items }]] = caller.claimed;
      ids.push([items.ec?.id ?? null, items.kem.id]);
    }
    assert.deepEqual(ids, [['1', '1'], ['2', LAST_RESORT], [null, LAST_RESORT]]);
    const read = [];
    for (let mail = 0; mail < 3; mail += 1) read.push(...(await cleo.texts(1)));
    assert.deepEqual(read, ['from ada.1', 'from ben.1', 'from ben.2']);
    assert.deepEqual(await cleo.transport.counts(), { ec: 0, spk: 0, kem: 0 });
  },

  async 'nothing came that nobody asked for'({ ada, ben, tablet }) {
    for (const { socket } of [ada, ben, tablet]) {
      await socket.ping();
      assert.deepEqual(socket.unread(), []);
      await socket.close();
    }
  },
};

async function main() {
  const { values } = parseArgs({ options: { selftest: { type: 'boolean' }, keys: { type: 'string' } } });
  const binary = process.env.CHATCTL ?? 'chatctl';
  const relay = values.selftest ? await FakeRelay.start() : await RelayProcess.start({ binary, keys: values.keys });
  let passed = 0;
  let failed = 0;
  try {
    // Other names than the accounts that --dev makes, whose devices are none of ours.
    const ada = await Phone.install(relay, 'ada', 1);
    const ben = await Phone.install(relay, 'ben', 1);
    const cast = { relay, ada, ben };
    for (const [name, story] of Object.entries(stories)) {
      try {
        await story(cast);
        passed += 1;
        console.log(`ok   ${name}`);
      } catch (error) {
        failed += 1;
        console.log(`FAIL ${name}\n${error.stack}`);
      }
    }
  } catch (error) {
    failed += 1;
    console.log(`FAIL before the first story\n${error.stack}`);
  } finally {
    await relay.stop();
  }
  if (failed > 0 && relay.log) console.error(relay.log);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

await main();
