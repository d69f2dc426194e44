// Package brokers plays random operations on brokers of one engine, and compares what they do with
// the order that the engine has stored. It is all tests.
package brokers
