// Package broadcastnats connects the brokers of many processes through NATS JetStream, which keeps
// the order of their chats:
//
//	e, err := broadcastnats.New(broadcastnats.Options{URL: "nats://localhost:4222"})
//	…
//	b, err := broadcast.New[Message](broadcast.WithEngine(e))
//
// docs/cluster.md in the repository says what that promises, and how to run NATS for it.
//
// # Settings
//
// All nodes with the same prefix share one stream, which has the name of the prefix. The first node
// makes it, and later ones check it:
//
//	subjects              <prefix>.p.>   what nodes append: one subject for each chat
//	republished to        <prefix>.r.>   what nodes are handed: core NATS, without consumers
//	messages per subject  Options.Records; a node that wants to keep more raises it
//	direct gets           allowed
//	other limits          none: a chat whose last record is gone begins anew
//	first sequence        the time in microseconds, so that no sequence is ever used again
//
// A stream that somebody else has made may differ in all that is not in this table. Nodes send each
// other what is not stored to the subjects <prefix>.r.> and <prefix>.a. An account with permissions
// must allow the subjects above, inboxes, $JS.API.> for the stream, and should allow
// $JS.EVENT.ADVISORY.STREAM.*.<prefix>, which tells nodes at once about a new leader.
//
// # What survives what
//
//	a node dies                         everything that it has appended
//	a node loses its connection         everything: it reads what it has missed
//	a server dies, one replica          everything
//	a server dies, three replicas       everything; appends wait for another leader
//	a machine dies, three replicas      everything
//	a machine dies, one replica         nothing, if the newest records were not on its disk yet
//	the stream is lost, or made empty   nothing
//
// Where nothing survives, the order of each chat begins anew, in an epoch of its own, and readers
// are told. This also holds if only the newest records are lost: a node removes the others, because
// their order cannot go on.
package broadcastnats
