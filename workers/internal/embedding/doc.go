// Package embedding turns texts into vectors, keeps them in the vector store and answers search requests.
//
// A Batcher fills the model's batches across jobs and documents, so a document's last few chunks do not waste a call. Vectors
// are stored under ids that follow from the chunk, so doing a job twice leaves one copy of each.
package embedding
