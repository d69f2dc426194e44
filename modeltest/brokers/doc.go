// Package brokers plays random operations on brokers of one engine, and compares what they do with
// the order that the engine has stored. It also lets clients call several brokers at the same time,
// and requires that what they are answered is what one log could have answered. It is all tests.
package brokers
