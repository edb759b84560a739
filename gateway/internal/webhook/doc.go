// Package webhook tells tenants' own servers what becomes of their jobs and documents, by the Standard Webhooks specification
// (https://www.standardwebhooks.com).
//
// It has two halves. The relay, which one gateway at a time runs, reads the log of jobs in the order of the transactions that wrote it
// and turns ends into deliveries; how far it has read moves on in the transaction that writes them, so each end becomes one delivery
// for each webhook that asked. The Handler sends deliveries: they are jobs of the kind webhook.deliver, with the leases, attempts and
// fairness of all other jobs. A receiver may get a message more than once, always with the same webhook-id.
package webhook
