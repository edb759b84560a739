module github.com/tarento/copilot/gateway/client

go 1.26.0
