// Package qdrantlocal is a local stand-in for the Qdrant server: the same gRPC services, in the caller's process.
//
// It exists so that a machine with nothing but Go can run and test whatever talks to Qdrant. It is exact where Qdrant is
// approximate (every search is a scan of the points that the filter leaves), durable like Qdrant, and honest about what
// it lacks: a call or an option it does not know is refused with codes.Unimplemented and a message that names it, never
// answered wrongly. Its health check says that it is a stand-in.
//
// # What it does
//
// Collections: create, get, list, exists, delete; keyword, integer, float, bool and UUID payload indexes. Points: upsert
// of named (or unnamed) dense and sparse vectors, get, delete, set and overwrite payload, count, scroll, query. Distances
// are cosine and dot. Filters know must, should, min_should and must_not; match on keyword, integer, bool, any and
// except; range, values_count, is_empty, is_null, has_id, has_vector, nested objects and nested filters. A query may be a
// nearest-neighbor search by vector or by point id, or the fusion of prefetches by reciprocal rank.
//
// # Where it follows Qdrant to the letter
//
// Reciprocal rank fusion scores a point 1/(k+position) per prefetch, positions from zero and k = 2 unless the request
// says otherwise; a weight w turns that into 1/((position+1)/w + k - 1). The IDF modifier multiplies each weight of the
// query by ln((n - df + 0.5)/(df + 0.5) + 1), n being the vectors of that name in the whole collection and df those that
// have the index, whatever the filter. A sparse search returns only points that share an index with the query. Cosine
// vectors are normalized when they are stored. A root filter also applies to every prefetch.
//
// # On disk
//
// One folder holds one log, every record framed by its length and a CRC-32C. A change is answered after it has been
// synced; changes that wait at the same moment share one sync. A torn tail (the machine died in the middle of a write)
// is cut off when the folder is opened; a damaged record with an intact one behind it is refused, because cutting there
// would lose answered changes. When the log has grown well beyond what it holds it is rewritten, which blocks changes, not searches, for as
// long as writing the live points takes. A lock file keeps a second process out.
package qdrantlocal
