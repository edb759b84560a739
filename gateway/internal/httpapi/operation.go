package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/tarento/copilot/gateway/internal/account"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// operation declares one operation of the API. What it takes and answers follows from its handler's types.
type operation struct {
	id      string
	method  string
	path    string // below /api/v1
	tag     string
	summary string
	about   string
	// status is that of a success; 0 means 200.
	status int
	// errors are the statuses it may answer with, beside those that every operation has.
	errors []int
	// accepts marks what makes a job: 202 with the job, or 200 when the caller waited for its end.
	accepts bool
	// body is how large the body may be, in bytes; 0 means 1 MiB.
	body int64
	// long operations have no overall time limit: streams and uploads bound themselves.
	long bool
	// deprecated marks what only clients of the earlier service should call.
	deprecated bool
	// own admits callers without the permission to what is their own; how far that reaches, the handler asks rbac.
	own bool
	// person refuses API keys: it is for who has logged in.
	person bool
}

const (
	base = "/api/v1"
	// allowed is how long an operation may take that is not long: what a caller may wait for a job, and some.
	allowed = 60 * time.Second
	maxBody = 1 << 20
	bearer  = "bearer"
	apiKey  = "apiKey"
)

// headerAPIKey carries an API key, where Authorization does not.
const headerAPIKey = "X-API-Key"

// public registers an operation that anybody may call.
func public[I, O any](s *Server, op operation, handle func(context.Context, *I) (*O, error)) {
	h := op.huma(s.cfg.BodyWithin)
	h.Security = []map[string][]string{} // said, and not only left out
	h.Middlewares = huma.Middlewares{s.countStranger}
	register(s, h, op.long, func(ctx context.Context, in *I) (*O, error) {
		r := requestOf(ctx)
		return handle(store.WithActor(ctx, store.Actor{IP: r.ip, UserAgent: r.agent, RequestID: r.id}), in)
	})
}

// secured registers an operation for callers who hold the permission; the empty permission is held by whoever is logged in, and
// one of op.own also admits whoever is, to what is their own.
// Together the calls of secured are the authorization table of the API, and it also stands in the OpenAPI document.
func secured[I, O any](
	s *Server, permission access.Permission, op operation, handle func(context.Context, *rbac.Principal, *I) (*O, error),
) {
	h := op.huma(s.cfg.BodyWithin)
	h.Security = []map[string][]string{{bearer: {}}, {apiKey: {}}}
	h.Errors = append(h.Errors, http.StatusUnauthorized)
	h.Extensions = map[string]any{}
	needs := "Needs to be logged in, or an API key."
	if permission != "" {
		h.Errors = append(h.Errors, http.StatusForbidden)
		h.Extensions["x-permission"] = string(permission)
		needs = "Needs the permission `" + string(permission) + "`"
		if op.own {
			h.Extensions["x-own"] = true
			needs += "; without it callers reach what is their own"
		}
		needs += "."
	}
	if op.person {
		h.Security = h.Security[:1]
		h.Errors = append(h.Errors, http.StatusForbidden)
		h.Extensions["x-person"] = true
		needs += " API keys are refused."
		if permission == "" {
			needs = "Needs to be logged in; API keys are refused."
		}
	}
	h.Description = strings.TrimSpace(h.Description + "\n\n" + needs)
	if op.accepts {
		h.DefaultStatus = http.StatusAccepted
		h.Errors = append(h.Errors, http.StatusConflict)
		h.Responses = map[string]*huma.Response{"200": {
			Description: "The job has ended while the caller waited for it",
			Content: map[string]*huma.MediaType{mediaJSON: {
				Schema: s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Job](), true, ""),
			}},
		}}
	}
	h.Middlewares = huma.Middlewares{s.authorize(permission, op)}
	register(s, h, op.long, func(ctx context.Context, in *I) (*O, error) {
		p, ok := ctx.Value(principalKey{}).(*rbac.Principal)
		if !ok {
			return nil, newProblem(fault.Internal, codeInternal, "")
		}
		return handle(ctx, p, in)
	})
}

// changes registers a change of a resource under PATCH and under PUT, which clients of the earlier service use for the same: fields
// that are left out stay as they are.
func changes[I, O any](
	s *Server, permission access.Permission, op operation, handle func(context.Context, *rbac.Principal, *I) (*O, error),
) {
	op.errors = append(op.errors, http.StatusNotFound, http.StatusPreconditionFailed, http.StatusPreconditionRequired)
	op.method = http.MethodPatch
	secured(s, permission, op, handle)
	op.method, op.id = http.MethodPut, "put-"+strings.TrimPrefix(op.id, "update-")
	op.about = strings.TrimSpace(op.about + " The same as PATCH: fields that are left out stay as they are.")
	secured(s, permission, op, handle)
}

// register adds the operation to the router and the OpenAPI document, with what all handlers share: a time limit, and errors
// that become problems and reach the log.
func register[I, O any](s *Server, op huma.Operation, long bool, handle func(context.Context, *I) (*O, error)) {
	if _, takesBody := reflect.TypeFor[I]().FieldByName("Body"); takesBody {
		op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
		op.Middlewares = append(op.Middlewares, plainQuery, plainBody)
	} else {
		op.Middlewares = append(op.Middlewares, plainQuery)
	}
	slices.Sort(op.Errors)
	op.Errors = slices.Compact(op.Errors)
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		if !long {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, allowed)
			defer cancel()
		}
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		return out, nil
	})
}

// failed turns an error into a problem and logs what the caller must not see.
func (s *Server) failed(ctx context.Context, err error) *Problem {
	p := problemOf(err)
	switch {
	case p.Status == http.StatusServiceUnavailable || p.Status == http.StatusGatewayTimeout:
		requestOf(ctx).log.WarnContext(ctx, "request not served", "error", err)
	case p.Status >= http.StatusInternalServerError:
		requestOf(ctx).log.ErrorContext(ctx, "request failed", "error", err)
	default:
	}
	return p
}

func (op operation) huma(bodyWithin time.Duration) huma.Operation {
	status := op.status
	if status == 0 {
		status = http.StatusOK
	}
	return huma.Operation{
		OperationID: op.id, Method: op.method, Path: base + op.path, Tags: []string{op.tag},
		Summary: op.summary, Description: op.about, DefaultStatus: status, Deprecated: op.deprecated,
		Errors: append([]int{
			http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable,
		}, op.errors...),
		MaxBodyBytes: cmp.Or(op.body, maxBody), BodyReadTimeout: bodyWithin,
	}
}

type principalKey struct{}

// authorize admits callers who are known and may call the operation. What lasts ends when they no longer may.
func (s *Server) authorize(permission access.Permission, op operation) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		authorization, key := ctx.Header("Authorization"), ctx.Header(headerAPIKey)
		p, err := s.authenticate(ctx.Context(), authorization, key)
		err = s.countCaller(ctx, p, err)
		if err == nil {
			err = op.admits(p, permission)
		}
		if err != nil {
			abort(humagin.Unwrap(ctx), s.failed(ctx.Context(), err))
			return
		}
		r := requestOf(ctx.Context())
		r.user = p.UserID.String()
		actor := store.Actor{UserID: p.UserID, KeyID: p.KeyID, IP: r.ip, UserAgent: r.agent, RequestID: r.id}
		known := store.WithActor(context.WithValue(ctx.Context(), principalKey{}, p), actor)
		if op.long {
			r.again = s.again(op, permission, clientOf(known), authorization, key)
			var done context.CancelFunc
			known, done = s.Accounts.While(known, p.Tenant, r.again.asks(nil))
			defer done()
		}
		next(huma.WithContext(ctx, known))
	}
}

// again returns what asks later on whether a caller may still call the operation. It holds on to nothing else of the request.
func (s *Server) again(op operation, permission access.Permission, from account.Client, authorization, key string) admission {
	person, own := op.person, op.own
	return func(ctx context.Context) (*rbac.Principal, error) {
		now, err := s.authenticateFrom(ctx, from, authorization, key)
		if err != nil {
			return nil, err
		}
		return now, operation{person: person, own: own}.admits(now, permission)
	}
}

// admission admits the caller of something that lasts once more, and says what it may do by now.
type admission func(context.Context) (*rbac.Principal, error)

// asks returns what refuses who is not admitted any more, or may no longer see what is shown; nil stands for nothing.
func (again admission) asks(shown sight) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := again(ctx)
		if err == nil && shown != nil {
			err = shown(now.Jobs())
		}
		return err
	}
}

// admits refuses callers who may not call the operation.
func (op operation) admits(p *rbac.Principal, permission access.Permission) error {
	switch {
	case op.person && !p.IsPerson():
		return fault.New(fault.Forbidden, "session.required", "This needs a person who has logged in. API keys cannot do it.")
	case !p.MeantFor(permission) && permission != "":
		return fault.New(fault.Forbidden, "permission.missing",
			"This needs the permission %s, which this API key is not meant for.", permission)
	case !op.own && !p.Can(permission):
		return fault.New(fault.Forbidden, "permission.missing",
			"This needs the permission %s, which your role does not have.", permission)
	default:
		return nil
	}
}

// bearerToken takes the token out of an Authorization header.
func bearerToken(header string) (string, error) {
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", fault.New(fault.Unauthenticated, "token.missing",
			"Log in and send the access token as \"Authorization: Bearer <token>\", or send an API key.")
	}
	return token, nil
}
