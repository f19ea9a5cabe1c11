// Socket.IO with its Redis adapter: two servers, and what one says reaches the sockets of the other. With node-redis
// and with ioredis, over ordinary and over sharded channels.
//
//     socket_io.mjs HOST PORT

import assert from "node:assert";
import { createServer } from "node:http";
import { once } from "node:events";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { Server } from "socket.io";
import { io } from "socket.io-client";

const [host, port] = [process.argv[2], Number(process.argv[3])];

async function nodeRedis() {
  const client = createClient({ socket: { host, port } });
  const other = client.duplicate();
  await Promise.all([client.connect(), other.connect()]);
  return [client, other, () => Promise.all([client.close(), other.close()])];
}

async function ioredis() {
  const client = new Redis(port, host);
  const other = client.duplicate();
  return [client, other, () => Promise.all([client.quit(), other.quit()])];
}

async function server(adapter) {
  const http = createServer();
  const server = new Server(http, { adapter });
  server.on("connection", (socket) => {
    socket.join("everybody");
    socket.on("say", (text) => server.to("everybody").emit("said", text));
    socket.on("whisper", (room, text) => server.to(room).emit("whispered", text));
    socket.on("enter", (room, done) => (socket.join(room), done()));
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  return { server, address: `http://127.0.0.1:${http.address().port}` };
}

async function check(connect, create) {
  const ends = [];
  const servers = await Promise.all(
    [0, 1].map(async () => {
      const [one, other, end] = await connect();
      ends.push(end);
      return server(create(one, other));
    }),
  );
  const clients = servers.flatMap(({ address }) => [0, 1].map(() => io(address, { transports: ["websocket"] })));
  await Promise.all(clients.map((client) => once(client, "connect")));
  await clients[3].emitWithAck("enter", "corner");
  // The subscriptions are made in the background: speak until everybody has heard it.
  const heard = Promise.all(clients.map((client) => once(client, "said")));
  const again = setInterval(() => clients[0].emit("say", "hello"), 100);
  assert.deepEqual((await heard).flat(), Array(4).fill("hello"));
  clearInterval(again);
  const whispered = once(clients[3], "whispered");
  clients[0].emit("whisper", "corner", "psst");
  assert.deepEqual(await whispered, ["psst"]);
  const everywhere = await servers[0].server.in("everybody").fetchSockets();
  assert.equal(everywhere.length, 4);
  servers[1].server.in("everybody").disconnectSockets();
  await Promise.all(clients.map((client) => client.disconnected || once(client, "disconnect")));
  clients.forEach((client) => client.close());
  await Promise.all(servers.map(({ server }) => server.close()));
  await Promise.all(ends.map((end) => end()));
}

const late = setTimeout(() => (console.error("nothing happens any more"), process.exit(1)), 60_000);
for (const connect of [nodeRedis, ioredis]) {
  await check(connect, createAdapter);
  await check(connect, createShardedAdapter);
}
clearTimeout(late);
console.log("Socket.IO: two servers, four sockets, rooms, everybody; ordinary and sharded channels, two libraries");
process.exit(0);
