// Package embedding turns texts into vectors, keeps them in the vector store and answers search requests.
//
// A Batcher fills the model's batches across jobs and documents, so a document's last few chunks do not waste a call. Vectors
// are stored under ids that follow from the chunk, so doing a job twice leaves one copy of each.
//
// The vector store follows the record. Whoever stores vectors looks at the record once more afterwards, and a document.sync job
// makes the vectors of a document what the record says: those of passages that are not searched any more are removed, with all of
// a deleted document's, and the others say who may see the document now. Until then a search shows nothing that the record
// does not allow, because it reads each passage there.
package embedding
