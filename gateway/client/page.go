package client

import "iter"

// position is where a page begins: behind a cursor or, without one, after so many items; nil leaves that to the server.
type position struct {
	cursor string
	skip   *int
}

// every yields the items of all pages, by the cursor where pages have one and by their number where they do not. An error is
// yielded once, and is the end.
func every[T any](from position, read func(position) (*Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for at := from; ; {
			page, err := read(at)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Data {
				if !yield(item, nil) {
					return
				}
			}
			if !page.HasMore || len(page.Data) == 0 {
				return
			}
			at = at.following(page.NextCursor, len(page.Data))
		}
	}
}

// following is where the page after one of n items begins.
func (at position) following(cursor string, n int) position {
	if cursor != "" {
		return position{cursor: cursor}
	}
	if at.skip != nil {
		n += *at.skip
	}
	return position{skip: &n}
}
