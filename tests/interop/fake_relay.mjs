// A stand-in for the relay, so that the crypto and the transport can be tried without one (--selftest).
//
// It follows the documented API as far as the stories go, in memory, and proves nothing about the relay.

import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

export class FakeRelay {
  #accounts = new Map();
  #lastEnvelope = 1n;

  static async start() {
    const relay = new FakeRelay();
    relay.http = createServer((request, response) => relay.#request(request, response));
    relay.sockets = new WebSocketServer({ server: relay.http, handleProtocols: () => 'chatctl.v1.json' });
    relay.sockets.on('connection', (ws) => relay.#session(ws));
    await new Promise((resolve) => relay.http.listen(0, '127.0.0.1', resolve));
    relay.url = `http://127.0.0.1:${relay.http.address().port}`;
    relay.wsUrl = `${relay.url.replace('http', 'ws')}/v1/ws`;
    return relay;
  }

  token(account, deviceId) {
    return Buffer.from(JSON.stringify({ account, deviceId: String(deviceId) })).toString('base64');
  }

  async stop() {
    this.sockets.clients.forEach((ws) => ws.terminate());
    this.sockets.close();
    this.http.closeAllConnections();
    this.http.close();
  }

  #caller(token) {
    return JSON.parse(Buffer.from(token, 'base64').toString());
  }

  #devices(account) {
    if (!this.#accounts.has(account)) this.#accounts.set(account, new Map());
    return this.#accounts.get(account);
  }

  #request(request, response) {
    let text = '';
    request.on('data', (chunk) => (text += chunk));
    request.on('end', () => {
      const caller = this.#caller(request.headers.authorization.replace('Bearer ', ''));
      const route = `${request.method} ${request.url.replace(/devices\/.*/, 'devices')}`;
      const routes = {
        'PUT /v1/devices': (body) => this.#register(caller, body),
        'PUT /v1/keys/signal': (body) => this.#publish(caller, body),
        'GET /v1/keys/signal': () => this.#counts(caller),
        'POST /v1/keys/claim': (body) => this.#claim(body),
      };
      response.end(JSON.stringify(routes[route](text && JSON.parse(text)) ?? {}));
    });
  }

  #register({ account, deviceId }, { registration_id: registrationId }) {
    this.#devices(account).get(deviceId)?.ws?.close(4410);
    this.#devices(account).set(deviceId, { registrationId, mail: [], names: new Map() });
  }

  #publish(caller, { identity, pools }) {
    const device = this.#devices(caller.account).get(caller.deviceId);
    device.keyset = { identity, pools };
    return this.#counts(caller);
  }

  #counts({ account, deviceId }) {
    const { pools } = this.#devices(account).get(deviceId).keyset;
    const counts = Object.entries(pools).map(([name, { replace }]) => [name, { count: (replace ?? []).length }]);
    return { pools: Object.fromEntries(counts) };
  }

  #claim({ pools, targets }) {
    const results = {};
    for (const { account, devices } of targets) {
      const claimed = {};
      for (const [deviceId, device] of this.#devices(account)) {
        if (!devices.includes('*') && !devices.includes(deviceId)) continue;
        const take = (pool) => device.keyset.pools[pool].replace?.shift() ?? device.keyset.pools[pool].fallback ?? null;
        const items = Object.fromEntries(pools.map((pool) => [pool, take(pool)]));
        claimed[deviceId] = { registration_id: device.registrationId, identity: device.keyset.identity, items };
      }
      results[account] = { list_version: 1, devices: claimed };
    }
    return { results, missing: [] };
  }

  #session(ws) {
    const say = (frame) => ws.send(JSON.stringify(frame));
    let caller;
    let device;
    const handlers = {
      hello: ({ token }) => {
        caller = this.#caller(token);
        device = this.#devices(caller.account).get(caller.deviceId);
        device.ws = ws;
        say({ helloOk: { sessionId: 's', pending: String(device.mail.length) } });
        if (device.mail.length) say({ deliver: { envelopes: device.mail } });
        else say({ queueEmpty: {} });
      },
      ping: ({ id }) => say({ pong: { id } }),
      ack: ({ ids }) => {
        device.mail = device.mail.filter(({ id }) => !ids.includes(id));
        if (device.mail.length === 0) say({ queueEmpty: {} });
      },
      send: (send) => say(this.#send(caller, device, send)),
    };
    ws.on('message', (data) => {
      const [[kind, body]] = Object.entries(JSON.parse(data.toString()));
      handlers[kind](body);
    });
    ws.on('close', () => device?.ws === ws && (device.ws = undefined));
  }

  #send(caller, sender, { id, toAccount, messages, clientMsgId }) {
    const devices = this.#devices(toAccount);
    const named = messages.map(({ deviceId }) => deviceId);
    const missing = [...devices.keys()].filter((deviceId) => !named.includes(deviceId));
    const extra = named.filter((deviceId) => !devices.has(deviceId));
    const isStale = ({ deviceId, registrationId }) => devices.get(deviceId)?.registrationId !== registrationId;
    const stale = messages.filter((part) => devices.has(part.deviceId) && isStale(part)).map((part) => part.deviceId);
    if (missing.length + extra.length + stale.length > 0) {
      const lists = Object.entries({ missing, extra, stale }).filter(([, list]) => list.length > 0);
      return { sendErr: { id, code: 'device_mismatch', ...Object.fromEntries(lists) } };
    }
    const before = sender.names.get(clientMsgId);
    if (before) return { sendOk: { id, envelopeIds: before, duplicate: true } };
    const envelopeIds = messages.map(({ deviceId, kind, payload }) => {
      this.#lastEnvelope += 1n;
      const envelope = { id: String(this.#lastEnvelope), from: caller, kind, clientMsgId, attempt: 1, payload };
      const device = devices.get(deviceId);
      device.mail.push(envelope);
      device.ws?.send(JSON.stringify({ deliver: { envelopes: [envelope] } }));
      return envelope.id;
    });
    sender.names.set(clientMsgId, envelopeIds);
    return { sendOk: { id, envelopeIds } };
  }
}
