// Package cluster keeps one order of messages per chat on many nodes. The order is in an [Engine],
// an existing system that stores records and hands them to whoever follows a chat; drivers
// implement it. This package is what all drivers have in common. It knows messages only as bytes.
// It is not used by the broker yet.
//
// Above is the core, the broker of one node: it publishes with [Node.Publish], and is fed through a
// [Log] for each chat that it has.
//
//	        Publish                    Join, Room, Leave     Log
//	           │                               │              ▲
//	┌──────────▼───────────────────────────────▼──────────────┴───┐
//	│ Node      queue ──► batch in flight ──► order ──► Feed      │
//	└──────────────────────┬──────▲────────────▲──────────────────┘
//	                Append │      │ Stored     │ Heads, Read
//	┌──────────────────────▼──────┴────────────┴──────────────────┐
//	│ Session   one order of records per chat                     │
//	└─────────────────────────────────────────────────────────────┘
//
// # The order
//
// A [Record] is what one node has published at a time. It names the record before it, so a node
// sees when it has missed one. A node appends a record on the condition that the newest record is
// still the one that the node knows. Therefore the nodes can number the messages, without gaps, and
// the engine need only compare. A node whose condition fails applies the record of the other node
// and tries again.
//
// What a session hands over is a hint: records may be missing, repeated, out of order, or from
// before the engine lost its memory. What Heads and Read return may be out of date. Only Append is
// exact, so it decides wherever a guess could be wrong. In particular, the engine has lost its
// memory of a chat exactly if a record can be appended as its first. That record has no messages
// and begins a new epoch, which all nodes show to their readers as a reset.
//
// # States of a chat
//
// What a chat knows of the newest record that the engine has:
//
//	state     what it knows                       what it does     what comes next
//	unknown   nothing: it is new, has             Heads            absent, behind or current
//	          reconnected, or an append has
//	          failed, or a record of another
//	          epoch was handed over
//	absent    there is no record, or it is of     Append, to       current; unknown if that fails
//	          an older epoch                      begin an epoch
//	behind    there are records after the place   Read             current; unknown if there is none
//	current   it is the one at the place          Append           current; behind after a gap;
//	                                                               conflict; unknown after errors
//	conflict  another record follows the place,   waits for 20 ms  current when it comes; unknown
//	          and should come by itself
//
// A reconnection leads from any state to unknown. A check asks for the newest record in any state,
// because nothing shows that a record is missing if none follows it: 250 ms after the chat was
// followed, 250 ms after each reconnection, and every 30 s.
//
// What becomes of the messages of the batch in flight:
//
//	event                                           messages
//	its record is applied, or Append returns nil    accepted
//	another record is applied in its place          back to the queue
//	Append says that it has not stored the record,  back to the queue
//	and earlier calls said so too
//	Append returns another error                    stay; it is appended again if nothing has come
//	records after its place are lost                uncertain
//
// # Presence
//
// Each node is the only one that changes its own devices, so nothing has to be agreed upon. It tells
// the nodes that follow the chat of each change, with a number, and repeats the last number: 1 s
// after a change, then every 30 s. A node that has missed a number asks for the whole state. A
// subscription has a ticket, and the one with the newest ticket replaces those of its device on
// other nodes. Nodes give a sign of life each second. The devices of a node are gone when it says
// that it ends, when it has been silent for 5 s by the clock of the observer, or when it has missed
// two repetitions.
//
// # Goroutines
//
// Each call of Append and Read has a goroutine of its own, at most one of each for a chat. There is
// one call of Follow and one of Heads at a time for all chats, which gather meanwhile for the next.
// A goroutine feeds the log of a chat while something is in its queue. So neither a log without
// room nor a busy chat delays another chat. One more sends what nodes tell each other, and one gives
// the signs of life. The node starts these goroutines, and [Node.Close] waits for them.
package cluster
