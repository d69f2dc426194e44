package main

// workloads returns all of them, in the order of the report.
func workloads() []*Workload {
	return []*Workload{
		roundsWorkload(),
		shortRoundsWorkload(),
		singlesWorkload(),
		stuckWorkload(),
	}
}
