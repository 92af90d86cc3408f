// A broadcast server on the npm package `ws`: the path is the topic, a message goes to everybody
// on it.
const { WebSocketServer } = require(process.argv[3]);
const topics = new Map();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 4096,
  perMessageDeflate: false,
});
server.on("connection", (socket, request) => {
  const name = request.url;
  if (!topics.has(name)) topics.set(name, new Set());
  const topic = topics.get(name);
  topic.add(socket);
  socket.on("close", () => topic.delete(socket));
  socket.on("error", () => socket.terminate());
  socket.on("message", (message) => {
    for (const other of topic) other.send(message, { binary: false });
  });
});
