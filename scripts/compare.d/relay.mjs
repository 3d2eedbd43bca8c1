// The bare relay over a WebSocket library of Node: relay.mjs ws|websocket
//
// A client's first message is its name, and is answered with an empty one. Each further message is
// [length of a name][name][anything]; [anything] goes to the client of that name, or nowhere if there is none. That is
// what `chatctl bench echo` does, so that `chatctl bench --target ws-echo` measures this, too. Prints where it listens.

import http from 'node:http';

const sockets = new Map();

/** One client: what to do with each of its messages. `send` writes to it. */
function client(send) {
    let name = null;
    return {
        heard(frame) {
            if (name === null) {
                name = frame.toString('latin1');
                sockets.set(name, send);
                send(Buffer.alloc(0));
                return;
            }
            const end = 1 + frame[0];
            sockets.get(frame.toString('latin1', 1, end))?.(frame.subarray(end));
        },
        gone() {
            // A newer client of this name keeps it.
            if (sockets.get(name) === send) sockets.delete(name);
        },
    };
}

const libraries = {
    async ws(server) {
        const { WebSocketServer } = await import('ws');
        new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket) => {
            const here = client((frame) => socket.send(frame));
            socket.on('message', (frame) => here.heard(frame));
            socket.on('close', () => here.gone());
            socket.on('error', () => socket.terminate());
        });
    },
    // The library of the chat that this relay took the place of.
    async websocket(server) {
        const library = (await import('websocket')).default;
        new library.server({ httpServer: server, autoAcceptConnections: true }).on('connect', (socket) => {
            const here = client((frame) => socket.sendBytes(frame));
            socket.on('message', (message) => here.heard(message.binaryData));
            socket.on('close', () => here.gone());
            socket.on('error', () => socket.drop());
        });
    },
};

const library = libraries[process.argv[2]];
if (!library) throw new Error('relay.mjs ws|websocket');
const server = http.createServer((request, response) => response.writeHead(404).end());
await library(server);
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
    console.log(`ws://127.0.0.1:${server.address().port}`);
});
