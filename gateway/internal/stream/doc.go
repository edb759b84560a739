// Package stream lets any number of clients follow jobs.
//
// One Hub per gateway listens to the bus with two subscriptions and fans out to Subscriptions. A Subscription merges three sources
// into one gapless stream: the log in Postgres, which it reads first and whenever it notices a gap; logged events as they are
// published; and live text deltas, which reach the log later. It does so by position: events by their sequence number, text by
// its byte offset. So a client that comes back with the last position it saw gets the exact rest.
//
// Nothing here is lost for good. A full queue, a message that never came and a reconnect all end in the same way: the
// Subscription reads the log again. Every few seconds one query per gateway compares the last sequence numbers of all watched
// jobs with what was seen, so even the very last event of a job cannot go missing.
//
// A Feed shows the logs of all jobs of a tenant as one, in the order of the transactions that wrote them, and never passes one that
// has not ended: so its position, too, says exactly what a client has seen. The events of a tenant are read once for all who follow
// its feed here, by its tail, which the bus wakes; whoever comes from the past, or cannot follow, reads the log by itself until it
// has caught up.
//
// Either is shown to a client by a Line, which has no goroutine while nothing happens: a few writers write what there is, and never wait
// for anybody. Who reads by itself calls Next instead.
package stream
