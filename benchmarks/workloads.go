package main

// workloads returns all of them, in the order of the report.
func workloads() []*Workload {
	return append([]*Workload{
		roundsWorkload(),
		shortRoundsWorkload(),
		singlesWorkload(),
		contextWorkload(),
		stuckWorkload(),
		floodWorkload("flood", "A flood that should all arrive", buffer),
		floodWorkload("flood-default", "The same flood with the default buffer of 256", defaultBuffer),
		busyFloodWorkload(),
		floodBesideStuckWorkload(),
		chatsWorkload(),
		memoryWorkload(),
		allocationsWorkload(),
		latencyWorkload(),
		lagWorkload(),
		tinyWorkload(),
		millionWorkload(),
		messengerWorkload(),
	}, socketWorkloads()...)
}
