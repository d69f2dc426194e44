package server

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

func TestComingsAndGoingsThatWereLostAreReplacedByWhoIsThere(t *testing.T) {
	members := func() []string { return []string{"ann", "bob"} }
	assert.Equal(t, wire.Frame{Kind: wire.KindMembers, Members: members()}, presence(broadcast.Delivery[message]{Kind: broadcast.Resync}, members))
	assert.Equal(t, wire.Frame{Kind: wire.KindJoined, Name: "ann"}, presence(broadcast.Delivery[message]{Kind: broadcast.Joined, Device: "ann"}, nil))
	assert.Equal(t, wire.Frame{Kind: wire.KindLeft, Name: "ann"}, presence(broadcast.Delivery[message]{Kind: broadcast.Left, Device: "ann"}, nil))
}

func TestAMessageIsMarshalledOnceAndCompletedForEachSocket(t *testing.T) {
	sent := wire.Frame{Kind: wire.KindMessage, Name: "ann", Text: `a "quoted" <text>`}
	m, err := newMessage(sent)
	require.NoError(t, err)
	for _, missed := range []uint64{0, 7} {
		var got wire.Frame
		require.NoError(t, json.Unmarshal(appendFrame(nil, broadcast.Delivery[message]{Message: m, Missed: missed}), &got))
		sent.Missed = missed
		assert.Equal(t, sent, got)
	}
}
