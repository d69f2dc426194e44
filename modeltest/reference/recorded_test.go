package reference_test

// recorded is where a failing sequence is pasted, with what was wrong.
var recorded = []struct {
	name string
	ops  sequence
}{
	{"a place freed at a Block reader is used at once, although another reader has used up its patience", sequence{
		{opNew, args{}},
		{opSubscribe, args{0, 0, 1, 1}},
		{opSubscribe, args{0, 1, 1, 4}},
		{opBurst, args{0, 1}},
		{opGoPublish, args{}},
		{opTryNext, args{1}},
	}},
	{"where no reader is full a publisher does not wait, whoever waited there before", sequence{
		{opNew, args{}},
		{opSubscribe, args{0, 0, 3}},
		{opBurst, args{0, 1}},
		{opPublish, args{}},
		{opTryPublish, args{}},
		{opTryNext, args{}},
		{opTryPublish, args{}},
	}},
	{"two readers whose strategies are due at the same message", sequence{
		{opNew, args{1}},
		{opSubscribe, args{0, 0, 2, 2}},
		{opSubscribe, args{0, 1, 0, 5}},
		{opBurst, args{0, 3}},
		{opTryNext, args{1}},
	}},
	{"Close of a subscription that another end left readable", sequence{
		{opNew, args{1}},
		{opSubscribe, args{0, 0, 0, 3}},
		{opBurst, args{}},
		{opCloseSubscriber, args{}},
		{opTryNext, args{}},
	}},
	{"Shutdown with a done context and nothing to drain", sequence{
		{opNew, args{}},
		{opShutdown, args{9}},
	}},
	{"the position of a closed subscription that a strategy had dropped messages of", sequence{
		{opNew, args{}},
		{opSubscribe, args{0, 0, 0, 1}},
		{opBurst, args{}},
		{opTryNext, args{}},
		{opCloseSubscriber, args{}},
	}},
	{"a Resync that Chan offered while more was lost", sequence{
		{opNew, args{}},
		{opSubscribe, args{0, 0, 0, 0, 0, 0, 0, 0, 1}},
		{opComeAndGo, args{0, 1}},
		{opChan, args{}},
		{opComeAndGo, args{}},
		{opChan, args{}},
		{opComeAndGo, args{}},
		{opChan, args{}},
		{opChan, args{}},
		{opComeAndGo, args{0, 1}},
		{opChan, args{}},
	}},
	{"events behind a Resync that could be those before it, from Chan", sequence{
		{opNew, args{0, 0, 0, 0, 0, 0, 0, 0, 222}},
		{opSubscribe, args{0, 0, 0, 0, 0, 18, 0, 0, 1}},
		{opPublish, args{0, 1}},
		{opChan, args{}},
		{opComeAndGo, args{}},
		{opChan, args{}},
		{opComeAndGo, args{0, 16}},
		{opChan, args{}},
		{opChan, args{}},
		{opComeAndGo, args{}},
		{opChan, args{}},
		{opComeAndGo, args{}},
		{opPublish, args{1, 12}},
		{opPublish, args{}},
	}},
}
