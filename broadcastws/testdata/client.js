// Prints the frames of a WebSocket, one on a line, and how it was closed.
const WebSocket = require("ws");
const socket = new WebSocket(process.argv[2]);
socket.on("message", text => console.log(text.toString()));
socket.on("close", (code, reason) => console.log("closed", code, reason.toString()));
