package reference_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/fbd86cad/broadcast"
)

// situation is something that random sequences must reach, lest they prove nothing of it.
type situation int

const (
	resumedWhole situation = iota
	resumedCut
	resumedForeign
	resumedFuture
	resumedFromNone
	replayedWhole
	replayedCut
	replayExpired
	toldJoined
	toldLeft
	toldResync
	toldByChan
	cameBack
	kickedInGrace
	leftAfterGrace
	chatMadeByPublish
	lastWasKept
	publishOverLimit
	subscribeOverLimit
	subscribedAnonymously
	subscribedByName
	chatForgotten
	historyForgotten
	missedSome
	publisherWaited
	publisherGaveUp
	publisherOvertaken
	spentBeforeOthers
	samplerPanicked
	samplerExited
	samplerLied
	endedClosed
	endedSlow
	endedStalled
	endedReplaced
	replacedIdle
	endedUntil
	endedKicked
	endedAgain
	endedWhilePublishing
	publishToEnded
	drainsAfterEnd
	subscribedToEnded
	cutAtTheEnd
	cutReplay
	forgotChat
	forgetInUse
	shutdownDrained
	shutdownExpired
	shutdownClosed
	situations
)

var situationNames = [situations]string{
	resumedWhole:          "Resume of a position of which all is kept",
	resumedCut:            "Resume of a position of which something is gone",
	resumedForeign:        "Resume of a position of another log",
	resumedFuture:         "Resume of a position that is not reached",
	resumedFromNone:       "Resume of the zero position",
	replayedWhole:         "Replay of as much as was asked for",
	replayedCut:           "Replay of less",
	replayExpired:         "Replay of less because the rest is too old",
	toldJoined:            "Joined",
	toldLeft:              "Left",
	toldResync:            "Resync",
	toldByChan:            "a coming or going from Chan",
	cameBack:              "a device that came back in time",
	kickedInGrace:         "a device that was kicked while it might come back",
	leftAfterGrace:        "a device that did not come back in time",
	chatMadeByPublish:     "a chat that Publish made",
	lastWasKept:           "a Last that was kept",
	publishOverLimit:      "a Publish over the limit of chats",
	subscribeOverLimit:    "a Subscribe over a limit",
	subscribedAnonymously: "a reader without a device",
	subscribedByName:      "a reader of a chat with settings of its own",
	chatForgotten:         "a chat that was forgotten",
	historyForgotten:      "a chat that was forgotten with its history",
	missedSome:            "Missed",
	publisherWaited:       "a publisher that waited",
	publisherGaveUp:       "a publisher that gave up",
	publisherOvertaken:    "a publisher that TryPublish overtook",
	spentBeforeOthers:     "a reader with less patience than another one",
	samplerPanicked:       "a sampler that panicked",
	samplerExited:         "a sampler that exited",
	samplerLied:           "a sampler that answered nonsense",
	endedClosed:           "ErrClosed",
	endedSlow:             "ErrSlow",
	endedStalled:          "ErrStalled",
	endedReplaced:         "ErrReplaced",
	replacedIdle:          "ErrReplaced of a reader that was waited for in vain",
	endedUntil:            "the end of Until's context",
	endedKicked:           "a Kick",
	endedAgain:            "an EndChat after another",
	endedWhilePublishing:  "an EndChat while a publisher waited",
	publishToEnded:        "a Publish to a chat that has ended",
	drainsAfterEnd:        "a reader that drains after EndChat",
	subscribedToEnded:     "a Subscribe to a chat that has ended, with something to take",
	cutAtTheEnd:           "a reader that had not drained when its chat was forgotten",
	cutReplay:             "such a reader in a replay longer than its buffer",
	forgotChat:            "a Forget of messages",
	forgetInUse:           "a Forget of a chat in use",
	shutdownDrained:       "a Shutdown that drained",
	shutdownExpired:       "a Shutdown whose ctx expired",
	shutdownClosed:        "a Shutdown that Close ended",
}

// reached counts how often sequences were in each situation.
var reached tally

type tally [situations]atomic.Int64

func (r *tally) count(s situation) { r[s].Add(1) }

func (r *tally) countIf(s situation, yes bool) {
	if yes {
		r.count(s)
	}
}

// require fails the test if there is a situation that no sequence was in.
func (r *tally) require(t *testing.T) {
	t.Helper()
	for s, name := range situationNames {
		n := r[s].Load()
		t.Logf("%8d times %s", n, name)
		if n == 0 {
			t.Errorf("no sequence reached %s", name)
		}
	}
}

// subscribed counts where a subscription began.
func (r *tally) subscribed(b *refBroker, s *refSub) {
	r.countIf(subscribedAnonymously, s.device == "")
	r.countIf(subscribedByName, s.chat.refSettings != b.refSettings)
	start, head := s.joined+s.missed, s.chat.head()
	switch p := s.resumes; {
	case p.chat == s.chat && p.seq <= head:
		r.countIf(resumedWhole, s.recovered && start < head)
		r.countIf(resumedCut, !s.recovered)
	case p.chat == s.chat:
		r.count(resumedFuture)
	case p.chat != nil:
		r.count(resumedForeign)
	case s.replays > 0 && head > 0:
		r.countIf(replayedWhole, s.recovered)
		r.countIf(replayedCut, !s.recovered)
		r.countIf(replayExpired, !s.recovered && s.chat.age > 0 && head-start < uint64(min(s.chat.history, s.replays, int(head))))
	}
}

// called counts how a call of a publisher or of Shutdown ended.
func (r *tally) called(c *refCall) {
	switch {
	case c.msg > 0:
		r.countIf(publisherWaited, c.stands)
		r.countIf(publisherGaveUp, c.stands && c.err != nil)
		r.countIf(publishOverLimit, c.err == broadcast.ErrLimit)
	case c.shutdown:
		r.countIf(shutdownDrained, c.err == nil)
		r.countIf(shutdownClosed, c.err == broadcast.ErrBrokerClosed)
		r.countIf(shutdownExpired, c.err == c.ctxErr && c.err != nil)
	}
}

// delivered counts what a delivery tells.
func (r *tally) delivered(d broadcast.Delivery[int]) {
	switch d.Kind {
	case broadcast.Joined:
		r.count(toldJoined)
	case broadcast.Left:
		r.count(toldLeft)
	case broadcast.Resync:
		r.count(toldResync)
	case broadcast.Published:
		r.countIf(missedSome, d.Missed > 0)
	}
}

// ended counts why a subscription ended.
func (r *tally) ended(err error) {
	for s, reason := range map[situation]error{
		endedClosed: broadcast.ErrClosed, endedSlow: broadcast.ErrSlow, endedStalled: broadcast.ErrStalled, endedReplaced: broadcast.ErrReplaced,
		endedUntil: errModelUntil, endedKicked: errModelKick, samplerPanicked: errModelPanic, samplerExited: errModelExit, samplerLied: broadcast.ErrInvalid,
	} {
		r.countIf(s, errors.Is(err, reason))
	}
}
