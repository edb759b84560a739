package floor

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// readers is how many connections the reading handlers may hold, as many as the gateway's pool has.
const readers = 20

// openGORM opens the database as one would who wants nothing but speed of GORM: no transaction that nobody asked for, no log, and
// connections that stay open. Nothing is dialed before it is needed.
func openGORM(address string) (*gorm.DB, error) {
	db, err := gorm.Open(postgres.Open(address), &gorm.Config{
		SkipDefaultTransaction: true, DisableAutomaticPing: true, Logger: logger.Discard,
	})
	if err != nil {
		return nil, errors.New("floor: open GORM: " + VarDatabase + " cannot be used") // the cause would show the password
	}
	pool, err := db.DB()
	if err != nil {
		return nil, fmt.Errorf("floor: open GORM: %w", err)
	}
	pool.SetMaxOpenConns(readers)
	pool.SetMaxIdleConns(readers)
	return db, nil
}

// closeGORM closes its connections.
func closeGORM(db *gorm.DB) {
	if pool, err := db.DB(); err == nil {
		_ = pool.Close() // there is nobody to tell
	}
}

// agent is a row of the system's agent_configs, and what the system answers of it. JSON columns pass through as they are; only
// the flat names need a look inside.
type agent struct {
	ID             uuid.UUID  `gorm:"column:id;primaryKey"    json:"id"`
	Name           string     `gorm:"column:name"             json:"name"`
	Description    string     `gorm:"column:description"      json:"description"`
	OrganizationID uuid.UUID  `gorm:"column:organization_id"  json:"organization_id"`
	ProjectID      *uuid.UUID `gorm:"column:project_id"       json:"project_id"`
	AgentType      string     `gorm:"column:agent_type"       json:"agent_type"`
	LLMConfig      raw        `gorm:"column:llm_config"       json:"llm_config"`
	ToolsConfig    raw        `gorm:"column:tools_config"     json:"tools_config"`
	LLMModel       string     `gorm:"-"                       json:"llm_model"`
	Temperature    *float64   `gorm:"-"                       json:"temperature"`
	MaxTokens      *int       `gorm:"-"                       json:"max_tokens"`
	Tools          []string   `gorm:"-"                       json:"tools"`
	SystemPrompt   string     `gorm:"column:system_prompt"    json:"system_prompt"`
	KnowledgeBases raw        `gorm:"column:knowledge_bases"  json:"knowledge_bases"`
	Parameters     raw        `gorm:"column:parameters"       json:"parameters"`
	AgentMetadata  raw        `gorm:"column:agent_metadata"   json:"agent_metadata"`
	IsActive       bool       `gorm:"column:is_active"        json:"is_active"`
	IsDefault      bool       `gorm:"column:is_default"       json:"is_default"`
	MaxRuns        int        `gorm:"column:max_concurrent_runs" json:"max_concurrent_runs"`
	Version        int        `gorm:"column:version"          json:"version"`
	CreatedAt      time.Time  `gorm:"column:created_at"       json:"created_at"`
	UpdatedAt      time.Time  `gorm:"column:updated_at"       json:"updated_at"`
	Total          int64      `gorm:"column:total;->"         json:"-"` // of all agents, in a list
}

// TableName implements GORM's Tabler.
func (*agent) TableName() string { return "agent_configs" }

// AfterFind implements GORM's hook: it fills in the flat names.
func (a *agent) AfterFind(*gorm.DB) error {
	var llm struct {
		Model       string   `json:"model"`
		Temperature *float64 `json:"temperature"`
		MaxTokens   *int     `json:"max_tokens"`
	}
	var tools []struct {
		Name    string `json:"name"`
		Enabled *bool  `json:"enabled"`
	}
	if err := errors.Join(json.Unmarshal(a.LLMConfig, &llm), json.Unmarshal(a.ToolsConfig, &tools)); err != nil {
		return fmt.Errorf("read agent %s: %w", a.ID, err)
	}
	a.LLMModel, a.Temperature, a.MaxTokens, a.Tools = llm.Model, llm.Temperature, llm.MaxTokens, []string{}
	for _, t := range tools {
		if t.Enabled == nil || *t.Enabled {
			a.Tools = append(a.Tools, t.Name)
		}
	}
	a.CreatedAt, a.UpdatedAt = a.CreatedAt.UTC(), a.UpdatedAt.UTC()
	return nil
}

// raw is a JSON column that is passed on as it is.
type raw []byte //nolint:recvcheck // a Scanner changes it, and a Marshaler must not need its address

// Scan implements sql.Scanner.
func (r *raw) Scan(value any) error {
	switch v := value.(type) {
	case []byte:
		*r = append((*r)[:0], v...)
	case string:
		*r = append((*r)[:0], v...)
	default:
		return fmt.Errorf("a JSON column came as %T", value)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (r raw) MarshalJSON() ([]byte, error) { return r, nil }

// agent answers one agent of the caller's organization.
func (a *api) agent(g *gin.Context) {
	id, err := uuid.Parse(g.Param("id"))
	if err != nil {
		g.AbortWithStatusJSON(http.StatusUnprocessableEntity, gin.H{"error": "no such id"})
		return
	}
	var found agent
	err = a.gorm.WithContext(g.Request.Context()).
		Where("organization_id = ? AND id = ?", g.MustGet(organization), id).Take(&found).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		g.AbortWithStatusJSON(http.StatusNotFound, gin.H{"error": "not found"})
	case err != nil:
		refuse(g, fmt.Errorf("read: %w", err))
	default:
		g.JSON(http.StatusOK, found)
	}
}

// page is how the system answers a list.
type page struct {
	Data       []agent `json:"data"`
	Limit      int     `json:"limit"`
	HasMore    bool    `json:"has_more"`
	NextCursor string  `json:"next_cursor,omitempty"`
	Skip       *int    `json:"skip,omitempty"`
	Total      *int64  `json:"total,omitempty"`
}

// pageSize is how many agents a list holds, the system's default.
const pageSize = 20

// agents answers the newest agents of the caller's organization with one statement. Like the system, it counts all of them when skip
// is given, and else only looks whether there are more.
func (a *api) agents(g *gin.Context) {
	tenant := g.MustGet(organization)
	query := a.gorm.WithContext(g.Request.Context()).Where("organization_id = ?", tenant).Order("id DESC").Limit(pageSize + 1)
	_, counts := g.GetQuery(Skip)
	if counts {
		query = query.Select("*, (SELECT count(*) FROM agent_configs WHERE organization_id = ?) AS total", tenant)
	}
	rows := make([]agent, 0, pageSize+1)
	if err := query.Find(&rows).Error; err != nil {
		refuse(g, fmt.Errorf("list: %w", err))
		return
	}
	answer := page{Data: rows, Limit: pageSize}
	if counts && len(rows) > 0 {
		answer.Skip, answer.Total = new(int), &rows[0].Total
	}
	if len(rows) > pageSize {
		answer.Data, answer.HasMore = rows[:pageSize], true
		last := rows[pageSize-1].ID
		answer.NextCursor = base64.RawURLEncoding.EncodeToString(last[:])
	}
	g.JSON(http.StatusOK, answer)
}
