// Prints the events of a stream as JSON, one on a line, and when the client gives up.
const loaded = require("eventsource");
const EventSource = loaded.EventSource || loaded;
const source = new EventSource(process.argv[2]);
const log = e => console.log(JSON.stringify([e.type, e.data]));
for (const name of ["message", "ready", "ended"]) source.addEventListener(name, log);
source.onerror = () => setImmediate(() => { // it closes behind the error
	if (source.readyState === 2) console.log(JSON.stringify(["gave up", ""]));
});
