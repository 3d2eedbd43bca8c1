// One installation of a Signal app: official libsignal over stores in memory.
//
// Must not know the relay: it makes bundles, opens bundles, encrypts and decrypts.

import * as signal from '@signalapp/libsignal-client';
import { randomInt } from 'node:crypto';

const LAST_RESORT_ID = 0xfffffe;
const SIGNED_ID = 7;

const b64 = (bytes) => Buffer.from(bytes).toString('base64');
const unb64 = (text) => new Uint8Array(Buffer.from(text, 'base64'));
const name = (address) => `${address.name()}.${address.deviceId()}`;

class Sessions extends signal.SessionStore {
  records = new Map();
  async saveSession(address, record) {
    this.records.set(name(address), record.serialize());
  }
  async getSession(address) {
    const bytes = this.records.get(name(address));
    return bytes ? signal.SessionRecord.deserialize(bytes) : null;
  }
  async getExistingSessions(addresses) {
    return Promise.all(addresses.map((address) => this.getSession(address)));
  }
}

class Identities extends signal.IdentityKeyStore {
  known = new Map();
  constructor(pair, registrationId) {
    super();
    this.pair = pair;
    this.registrationId = registrationId;
  }
  async getIdentityKey() {
    return this.pair.privateKey;
  }
  async getLocalRegistrationId() {
    return this.registrationId;
  }
  async saveIdentity(address, key) {
    const before = this.known.get(name(address));
    this.known.set(name(address), key);
    const replaced = before !== undefined && !before.equals(key);
    return replaced ? signal.IdentityChange.ReplacedExisting : signal.IdentityChange.NewOrUnchanged;
  }
  // A person would be asked; the stories re-install on purpose.
  async isTrustedIdentity() {
    return true;
  }
  async getIdentity(address) {
    return this.known.get(name(address)) ?? null;
  }
}

class Keys {
  records = new Map();
  put(id, record) {
    this.records.set(id, record.serialize());
  }
  get(id) {
    const bytes = this.records.get(id);
    if (!bytes) throw new Error(`no private key ${id}: a one-time key was used twice, or never made`);
    return bytes;
  }
}

class PreKeys extends signal.PreKeyStore {
  keys = new Keys();
  async savePreKey(id, record) {
    this.keys.put(id, record);
  }
  async getPreKey(id) {
    return signal.PreKeyRecord.deserialize(this.keys.get(id));
  }
  async removePreKey(id) {
    this.keys.records.delete(id);
  }
}

class SignedPreKeys extends signal.SignedPreKeyStore {
  keys = new Keys();
  async saveSignedPreKey(id, record) {
    this.keys.put(id, record);
  }
  async getSignedPreKey(id) {
    return signal.SignedPreKeyRecord.deserialize(this.keys.get(id));
  }
}

class KyberPreKeys extends signal.KyberPreKeyStore {
  keys = new Keys();
  async saveKyberPreKey(id, record) {
    this.keys.put(id, record);
  }
  async getKyberPreKey(id) {
    return signal.KyberPreKeyRecord.deserialize(this.keys.get(id));
  }
  async markKyberPreKeyUsed(id) {
    if (id !== LAST_RESORT_ID) this.keys.records.delete(id);
  }
}

export class SignalDevice {
  constructor(account, deviceId) {
    this.account = account;
    this.deviceId = deviceId;
    this.registrationId = randomInt(1, 0x4000);
    this.identity = signal.IdentityKeyPair.generate();
    this.local = signal.ProtocolAddress.new(account, deviceId);
    this.sessions = new Sessions();
    this.identities = new Identities(this.identity, this.registrationId);
    this.preKeys = new PreKeys();
    this.signedPreKeys = new SignedPreKeys();
    this.kyberPreKeys = new KyberPreKeys();
  }

  // The body of PUT /v1/keys/signal, with so many one-time keys.
  async keyset({ ec, kem }) {
    const pools = { ec: { replace: [] }, spk: {}, kem: { replace: [] } };
    for (let id = 1; id <= ec; id += 1) pools.ec.replace.push(await this.#ec(id));
    for (let id = 1; id <= kem; id += 1) pools.kem.replace.push(await this.#kyber(id));
    pools.spk.fallback = await this.#signed(SIGNED_ID);
    pools.kem.fallback = await this.#kyber(LAST_RESORT_ID);
    return { identity: b64(this.identity.publicKey.serialize()), pools };
  }

  // A claimed device becomes a session. `items` as in the answer of POST /v1/keys/claim.
  async open(account, deviceId, { registrationId, identity, items }) {
    const { ec, spk, kem } = items;
    const bundle = signal.PreKeyBundle.new(
      registrationId,
      deviceId,
      ec ? Number(ec.id) : null,
      ec ? signal.PublicKey.deserialize(unb64(ec.data)) : null,
      Number(spk.id),
      signal.PublicKey.deserialize(unb64(spk.data)),
      unb64(spk.sig),
      signal.PublicKey.deserialize(unb64(identity)),
      Number(kem.id),
      signal.KEMPublicKey.deserialize(unb64(kem.data)),
      unb64(kem.sig),
    );
    const peer = signal.ProtocolAddress.new(account, deviceId);
    await signal.processPreKeyBundle(bundle, peer, this.local, this.sessions, this.identities);
  }

  forget(account, deviceId) {
    this.sessions.records.delete(`${account}.${deviceId}`);
  }

  peers(account) {
    const ofAccount = [...this.sessions.records.keys()].filter((key) => key.startsWith(`${account}.`));
    return ofAccount.map((key) => Number(key.slice(account.length + 1)));
  }

  async encrypt(account, deviceId, text) {
    const peer = signal.ProtocolAddress.new(account, deviceId);
    const plaintext = new Uint8Array(Buffer.from(text));
    const ciphertext = await signal.signalEncrypt(plaintext, peer, this.local, this.sessions, this.identities);
    const session = await this.sessions.getSession(peer);
    return {
      deviceId: String(deviceId),
      registrationId: session.remoteRegistrationId(),
      kind: ciphertext.type(),
      payload: b64(ciphertext.serialize()),
    };
  }

  async decrypt({ account, deviceId }, kind, payload) {
    const peer = signal.ProtocolAddress.new(account, Number(deviceId));
    const bytes = unb64(payload);
    const { local, sessions, identities } = this;
    if (kind === signal.CiphertextMessageType.PreKey) {
      const message = signal.PreKeySignalMessage.deserialize(bytes);
      const stores = [this.preKeys, this.signedPreKeys, this.kyberPreKeys];
      return text(await signal.signalDecryptPreKey(message, peer, local, sessions, identities, ...stores));
    }
    if (kind === signal.CiphertextMessageType.Whisper) {
      const message = signal.SignalMessage.deserialize(bytes);
      return text(await signal.signalDecrypt(message, peer, local, sessions, identities));
    }
    throw new Error(`a message of kind ${kind}`);
  }

  async #ec(id) {
    const secret = signal.PrivateKey.generate();
    const key = secret.getPublicKey();
    await this.preKeys.savePreKey(id, signal.PreKeyRecord.new(id, key, secret));
    return { id: String(id), data: b64(key.serialize()) };
  }

  async #signed(id) {
    const secret = signal.PrivateKey.generate();
    const key = secret.getPublicKey().serialize();
    const sig = this.identity.privateKey.sign(key);
    const record = signal.SignedPreKeyRecord.new(id, Date.now(), secret.getPublicKey(), secret, sig);
    await this.signedPreKeys.saveSignedPreKey(id, record);
    return { id: String(id), data: b64(key), sig: b64(sig) };
  }

  async #kyber(id) {
    const pair = signal.KEMKeyPair.generate();
    const key = pair.getPublicKey().serialize();
    const sig = this.identity.privateKey.sign(key);
    await this.kyberPreKeys.saveKyberPreKey(id, signal.KyberPreKeyRecord.new(id, Date.now(), pair, sig));
    return { id: String(id), data: b64(key), sig: b64(sig) };
  }
}

export const PRE_KEY = signal.CiphertextMessageType.PreKey;
export const WHISPER = signal.CiphertextMessageType.Whisper;
export const LAST_RESORT = String(LAST_RESORT_ID);

function text(bytes) {
  return Buffer.from(bytes).toString();
}
