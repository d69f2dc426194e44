// Package cluster keeps one order of messages per chat on many nodes. The order is kept in an
// [engine.Engine], an existing system that stores records and hands them to the nodes that follow a
// chat. There is a driver for each such system; this package is what all drivers have in common. It
// knows messages only as bytes.
//
// Above the package is the core, the broker of one node. It publishes with [Node.Publish], ends a
// chat with [Node.End] and forgets it with [Node.Forget], and a [Log] for each of its chats
// receives the messages.
//
//	   Publish, End, Forget            Join, Room, Leave     Log
//	           │                               │              ▲
//	┌──────────▼───────────────────────────────▼──────────────┴───┐
//	│ Node      queue ──► batch in flight ──► order ──► Feed      │
//	└──────────────────────┬──────▲────────────▲──────────────────┘
//	                Append │      │ Stored     │ Heads, Read, Purge
//	┌──────────────────────▼──────┴────────────┴──────────────────┐
//	│ Session   one order of records per chat                     │
//	└─────────────────────────────────────────────────────────────┘
//
// # The order
//
// An [engine.Record] is a batch of messages that one node has published. It names the record before
// it, so a node sees when it has missed one. A node appends a record on the condition that the
// newest record is still the one that the node knows. Therefore the nodes can number the messages,
// without gaps, and the engine need only compare. A node whose condition fails applies the record
// of the other node and tries again.
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
//	          reconnected or got another feed;
//	          an append has failed; a record
//	          of another epoch was handed over;
//	          or the chat had ended, is not
//	          followed, and is published to
//	absent    there is no record, or it is of     if wanted,       current; unknown if that fails,
//	          an older epoch                      Append, to       or when a record of a newer epoch
//	                                              begin an epoch   is handed over
//	behind    there are records after the place   Read             current; unknown if there is none
//	over      it is an end, and the name is free  if wanted,       absent
//	                                              Purge
//	current   it is the one at the place          Append (after    current; behind after a gap;
//	                                              an end, that     conflict; unknown after errors;
//	                                              of Forget)       over
//	conflict  another record follows the place,   waits for 20 ms  current when it comes; unknown
//	          and should come by itself
//
// A chat is wanted by a feed, unless it was forgotten, and by what is in the queue or in flight. A
// reconnection leads from any state to unknown. A check asks for the newest record in any state,
// because nothing shows that a record is missing if none follows it: 250 ms after the chat was
// followed, 250 ms after each reconnection, and every 30 s.
//
// What becomes of the messages of the batch in flight:
//
//	event                                           messages
//	its record is applied, or Append succeeds       accepted
//	another record is applied in its place          back to the queue
//	Append says that it has not stored the record,  back to the queue
//	and earlier calls said so too
//	Append fails otherwise, or is not answered      stay; it is appended again if nothing has come
//	for 2 s
//	records after its place are lost                uncertain
//
// # Ends
//
// An end is a record without messages that says in its id when the name of the chat is free, and
// the text of the reason. Only an end by Forget may follow it: everything else in the queue is
// refused. When the name is free, and somebody wants the chat, the node has the engine remove all
// records up to the end. Then there is none, so the next chat begins with a new epoch, as after a
// loss. A node that follows the chat but has not come to the end reads it first, if it is still
// there.
//
// An end by Forget frees the name at once. A message before it in the order is part of the chat that
// is forgotten, and one after it of the next. Forget first polls all nodes: each says, in a note,
// whether it has readers in the chat. The chat is not locked meanwhile, so readers may still come;
// their logs go on with the next chat. When the record is stored, Forget polls again, until the logs
// on all nodes were told, so that none has to find out from records that are gone. Then it has the
// engine remove the records.
//
// # Presence
//
// Only a node itself changes its devices, so the nodes need not agree on anything. A node tells the
// nodes that follow the chat about each change, with a number, and repeats the last number: 1 s
// after a change, then every 30 s. A node that has missed a number asks for the whole state. A
// subscription has a ticket, and the one with the newest ticket replaces those of its device on
// other nodes. Each node sends a heartbeat every second. Other nodes consider its devices gone when
// it says that it ends, when they have heard nothing from it for 5 s by their own clocks, or when
// it has missed two repetitions.
//
// A kick is a note too. The node that has the device ends its subscription if its ticket is not
// newer than the one that the kicking node knew, and says so in the change that follows. Until the
// kicking node hears of that or of a newer ticket, it repeats the kick: every second, ten times at
// most, and after a reconnection.
//
// # Goroutines
//
// One goroutine makes the calls of Append, none of which waits for the engine. Each call of Read or
// Purge has a goroutine of its own, at most one of each for a chat, and one for each call of Forget. There is one call of Follow and one of Heads
// at a time for all chats, which gather meanwhile for the next. A few goroutines, one for each
// processor, feed the logs that have something in their queues, in turn. They last as long as the
// node. There is another one for each log that does not return within 20 ms, for as long as it is
// needed. So neither a full log nor a busy chat delays another chat. One more goroutine sends the
// notes to other nodes, and one the heartbeats. The node starts these goroutines, and [Node.Close]
// waits for them.
package cluster
