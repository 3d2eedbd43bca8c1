// The relay as a device sees it: HTTP for keys, one JSON WebSocket for mail.
//
// Must not know Signal. Everything that depends on names in bodies is in this file.

import WebSocket from 'ws';

const PATIENCE_MS = 20_000;

export class Transport {
  constructor({ url, wsUrl, token, account, deviceId }) {
    Object.assign(this, { url, wsUrl, token, account, deviceId });
  }

  async register(registrationId) {
    await this.#http('PUT', `/v1/devices/${this.deviceId}`, { registration_id: registrationId });
  }

  // Answers the number of one-time items in each pool.
  async publish(keyset) {
    return countsOf(await this.#http('PUT', '/v1/keys/signal', keyset));
  }

  async counts() {
    return countsOf(await this.#http('GET', '/v1/keys/signal'));
  }

  // Answers [deviceId, {registrationId, identity, items}] for each device that was there.
  async claim(account, devices = ['*']) {
    const wanted = { suite: 'signal', pools: ['spk', 'ec', 'kem'], targets: [{ account, devices }] };
    const answer = await this.#http('POST', '/v1/keys/claim', wanted);
    const claimed = Object.entries(answer.results[account]?.devices ?? {});
    return claimed.map(([deviceId, { registration_id: registrationId, identity, items }]) => [
      Number(deviceId),
      { registrationId, identity, items },
    ]);
  }

  async #http(method, path, body) {
    const response = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const answer = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${answer}`);
    return answer === '' ? undefined : JSON.parse(answer);
  }

  connect() {
    return Socket.open(this);
  }
}

function countsOf(answer) {
  return Object.fromEntries(Object.entries(answer.pools).map(([pool, { count }]) => [pool, count]));
}

// A session. Frames that nobody waits for yet are kept in order.
export class Socket {
  #ws;
  #frames = [];
  #waiting = [];
  #lastId = 0;
  closed;

  static async open({ wsUrl, token }) {
    const socket = new Socket();
    const ws = new WebSocket(wsUrl, ['chatctl.v1.json'], { perMessageDeflate: false });
    socket.#ws = ws;
    socket.closed = new Promise((resolve) => ws.once('close', (code) => resolve(code)));
    ws.on('message', (data, isBinary) => {
      if (isBinary) throw new Error('a binary message on the JSON subprotocol');
      const frame = JSON.parse(data.toString());
      const parts = frame.deliver?.envelopes.map((envelope) => ({ envelope })) ?? [frame];
      parts.forEach((part) => socket.#arrived(part));
    });
    await new Promise((resolve, reject) => {
      ws.once('open', resolve);
      ws.once('error', reject);
    });
    ws.on('error', () => {});
    socket.#say({ hello: { token, window: 64 } });
    socket.hello = (await socket.next((frame) => frame.helloOk)).helloOk;
    return socket;
  }

  // Answers {ok} or {err}, as the relay said it.
  async send(toAccount, messages, clientMsgId) {
    this.#lastId += 1;
    const id = String(this.#lastId);
    this.#say({ send: { id, toAccount, messages, clientMsgId, ttl: 3600 } });
    const answer = await this.next((frame) => (frame.sendOk ?? frame.sendErr)?.id === id);
    return { ok: answer.sendOk, err: answer.sendErr };
  }

  // The next so many envelopes, however many came in one frame.
  async mail(count) {
    const envelopes = [];
    while (envelopes.length < count) envelopes.push((await this.next((frame) => frame.envelope)).envelope);
    return envelopes;
  }

  ack(envelopes) {
    this.#say({ ack: { ids: envelopes.map(({ id }) => id) } });
  }

  async queueEmpty() {
    await this.next((frame) => frame.queueEmpty);
  }

  // A round trip: what the relay had to say before is here now.
  async ping() {
    this.#lastId += 1;
    const id = String(this.#lastId);
    this.#say({ ping: { id } });
    await this.next((frame) => frame.pong?.id === id);
  }

  // Envelopes that came and were not asked for.
  unread() {
    return this.#frames.flatMap((frame) => frame.envelope ?? []);
  }

  async close() {
    this.#ws.close(1000);
    return this.closed;
  }

  // The first frame that fits, now or later; others stay.
  async next(fits) {
    const at = this.#frames.findIndex((frame) => fits(frame));
    if (at >= 0) return this.#frames.splice(at, 1)[0];
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`nothing came: ${fits}`)), PATIENCE_MS);
      const waiting = { fits, resolve: (frame) => (clearTimeout(late), resolve(frame)) };
      this.#waiting.push(waiting);
      this.closed.then((code) => (clearTimeout(late), reject(new Error(`closed with ${code}`))));
    });
  }

  #say(frame) {
    this.#ws.send(JSON.stringify(frame));
  }

  #arrived(frame) {
    const at = this.#waiting.findIndex(({ fits }) => fits(frame));
    if (at < 0) this.#frames.push(frame);
    else this.#waiting.splice(at, 1)[0].resolve(frame);
  }
}
