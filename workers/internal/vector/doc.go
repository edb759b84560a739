// Package vector keeps the passages of documents where they can be found by meaning and by words. It is the only package
// that knows Qdrant.
//
// # One tenant at a time
//
// Every operation takes a tenant.ID and refuses the zero one with tenant.ErrNone. All filters are built by one function,
// which starts with the tenant's condition, so that no caller can leave it out; it stands on the query, on each prefetch
// of a hybrid query, and on upserts as an update filter, so that even a wrong point id cannot overwrite another tenant's
// point. (Update filters need Qdrant 1.16; an older server ignores them.)
//
// # Points of a document
//
// A point is named after its passage, and carries the id of the indexing that has made the passage. So the points of a
// document that is indexed again lie beside those of the indexing before, until DeleteDocument removes these. Who may see
// a document, its type and its tags are on all of its points, where Label changes them; they only narrow down what is
// found: the record decides what is shown.
//
// # Spaces
//
// Vectors of different models, or of different dimensions of one model, cannot be compared. A Space is a model and a
// dimension, and has a collection of its own. Ensure makes it: a dense vector compared by cosine, a sparse one weighed by
// Qdrant's IDF, and payload indexes for everything that a Filter can name. The tenant's index is declared as such, and the
// graph is built per tenant only, as Qdrant recommends when every search has a tenant.
//
// # Scores
//
// A Semantic search scores by cosine, -1 to 1. A Keyword search scores by BM25: the weights that EncodeDocument and
// EncodeQuery give, times the IDF that Qdrant computes over the whole collection (so the rarity of a word counts the
// texts of all tenants, though none of them can be seen; from 1.19 on Qdrant can count those of one tenant, which its Go
// client cannot ask for yet). A Hybrid search asks both and fuses the rankings by reciprocal rank with Qdrant's k of 2:
// first in both is 1, first in one and absent from the other is 0.5.
//
// # Errors
//
// Failures are faults (package fault): Unavailable and Timeout when the server cannot be reached, RateLimited when it
// asks for a pause, Invalid for vectors that do not fit the space, NotFound for a space that Ensure has not made. A call
// whose own context ended returns that context's error.
package vector
