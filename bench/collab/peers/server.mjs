// One Hocuspocus node that keeps its documents in memory. PORT is its port. With REDIS_URL, it shares its documents with
// other nodes through Redis.
import { Redis } from "@hocuspocus/extension-redis";
import { Server } from "@hocuspocus/server";

const extensions = [];
if (process.env.REDIS_URL) {
  const { hostname, port, username, password } = new URL(process.env.REDIS_URL);
  extensions.push(
    new Redis({
      host: hostname,
      port: Number(port),
      options: { username: username || undefined, password: decodeURIComponent(password) },
    }),
  );
}

const server = new Server({
  address: "127.0.0.1",
  port: Number(process.env.PORT),
  quiet: true,
  extensions,
});
await server.listen();
