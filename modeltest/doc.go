// Package modeltest holds what looks for faults that nobody has thought of: random histories that
// must be linearizable, every interleaving of small cases and, in the package reference, the
// library beside a reference broker; the command mutants plants known faults. It is all tests, in a
// module of its own so that the library need not require what they need. CONTRIBUTING.md says how
// to run them for longer, and what to do with a failure.
package modeltest
