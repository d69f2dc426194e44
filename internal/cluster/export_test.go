package cluster

// Polls returns how many polls of the node wait for answers.
func (n *Node) Polls() int {
	n.polls.mu.Lock()
	defer n.polls.mu.Unlock()
	return len(n.polls.open)
}
