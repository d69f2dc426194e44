// Package natstest tests package broadcastnats with servers in this process and in others. It is a
// module of its own, so that users of the driver do not get the server too.
package natstest
