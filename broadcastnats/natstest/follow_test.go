package natstest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/engine/enginetest"
)

// The client is told that there are too many subscriptions, but neither when nor which one it is.
func TestAChatForWhichTheServerHasNoSubscriptionLeftIsNotFollowed(t *testing.T) {
	o := options(t)
	o.MaxSubs = 20
	s := startServer(t, o)
	all := broadcastnats.Options{URL: s.ClientURL(), Connect: []nats.Option{nats.NoEcho()}}
	session, told := open(t, all)
	other, _ := open(t, all) // a message has somebody to go to
	var followed []string
	var err error
	chat := ""
	for i := 0; err == nil; i++ {
		chat = fmt.Sprint("c", i)
		require.Less(t, i, o.MaxSubs)
		if err = session.Follow(t.Context(), chat); err == nil {
			followed = append(followed, chat)
		}
	}
	require.ErrorIs(t, err, nats.ErrMaxSubscriptionsExceeded)
	require.Greater(t, len(followed), 10)
	require.NoError(t, other.Follow(t.Context(), chat))
	require.Error(t, session.Follow(t.Context(), chat), "again")

	session.Unfollow(followed[0])
	require.NoError(t, session.Follow(t.Context(), chat), "after there is one left")
	_, err = enginetest.Append(t.Context(), other, chat, engine.Place{Epoch: 1}, nil, "1")
	require.NoError(t, err)
	eventually(t, "a record", func() bool { return get(told, func() int { return len(told.records) }) == 1 })
	require.Error(t, session.Follow(t.Context(), followed[0]))
	require.Zero(t, get(told, func() int { return told.sent }), "nobody is told of it")
}

func TestAChatThatTheNodeMayNotSubscribeToIsNotFollowed(t *testing.T) {
	o := options(t)
	denied := &server.SubjectPermission{Deny: []string{"broadcast.r.nCHIMSQB5CG"}} // chat denied
	o.Users = []*server.User{
		{Username: "u", Password: "p", Permissions: &server.Permissions{Subscribe: denied}},
	}
	s := startServer(t, o)
	url := strings.Replace(s.ClientURL(), "://", "://u:p@", 1)
	session, told := open(t, broadcastnats.Options{URL: url})
	require.NoError(t, session.Follow(t.Context(), "allowed"))
	for range 2 {
		require.ErrorIs(t, session.Follow(t.Context(), "also", "denied"), nats.ErrPermissionViolation)
		require.NoError(t, session.Follow(t.Context(), "another"))
	}
	for i, chat := range []string{"allowed", "another"} {
		_, err := enginetest.Append(t.Context(), session, chat, engine.Place{Epoch: 1}, nil, "1")
		require.NoError(t, err)
		eventually(t, "a record", func() bool {
			return get(told, func() int { return len(told.records) }) == i+1
		})
	}
}
