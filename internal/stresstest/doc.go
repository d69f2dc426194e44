// Package stresstest tests package broadcast on real processors and the real clock, where
// everything happens at once. It has nothing but tests, and uses the library as any other package
// does.
//
// No result of such a test can be predicted. What must hold is that everything fits together: what
// was published, what each reader took, what the errors said, and what Stats says.
//
//   - A storm makes all calls at once: publishers that give up, readers that change how they read,
//     takeovers, closes from elsewhere, samplers that panic, chats that come and go.
//   - A race makes two or three calls at once that are hard to get right together, such as Close
//     and Publish. Nothing in it waits for time to pass, so that no timeout hides a wake-up that
//     was lost: the test hangs.
//   - A round is one storm or one race, on a new broker, from New to Close. There are many. The
//     flag -storm sets for how long storms follow one another, the flag -rounds how many rounds
//     each race has.
//   - A witness stands between a test and its broker. It notes what each call of Publish returned
//     and what every reader took. When a round is over, it compares its notes with each other and
//     with Stats. It finds a message that came twice, out of order, torn, in the wrong chat, or
//     although it had been refused, and one that is missing and was not counted as missed.
//   - A parcel is a message that the witness recognizes: it names its publisher, its number and
//     its chat, and has a checksum.
//   - A watchdog ends the test binary with the stacks of all goroutines when a round takes longer
//     than a minute.
//
// Each test also counts what happened, and fails if that was too little to prove anything.
package stresstest
