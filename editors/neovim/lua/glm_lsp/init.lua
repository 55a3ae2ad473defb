--- The client's own part of glm-lsp: what `lsp/glm_lsp.lua` and the commands call. See |glm_lsp|.
local config = require('glm_lsp.config')
local status = require('glm_lsp.status')
local suggest = require('glm_lsp.suggest')

local M = {
  accept = suggest.accept,
  accept_word = suggest.accept_word,
  accept_line = suggest.accept_line,
  ask = suggest.ask,
  ready = suggest.ready,
  statusline = status.line,
}

local RESTART_AFTER_S = 30
--- A server that has lived so long is started again when it dies; one that dies sooner would die again.
local started = {} ---@type table<integer, number>

--- The client of a buffer.
---@param bufnr? integer
---@return vim.lsp.Client?
function M.client(bufnr)
  return vim.lsp.get_clients({ bufnr = bufnr or 0, name = config.NAME })[1]
end

--- Tell the user.
local function tell(text, level)
  vim.notify('glm-lsp: ' .. text, level or vim.log.levels.INFO)
end

--- `on_attach`.
function M.attached(client, bufnr)
  started[client.id] = started[client.id] or vim.uv.now()
  suggest.attach(client, bufnr)
  status.refresh(client)
end

--- `on_exit`: a server that died is started again, once in a while.
function M.ended(code, signal, client_id)
  local since = started[client_id]
  started[client_id] = nil
  if signal == 15 or (code == 0 and signal == 0) then
    return
  end
  vim.schedule(function()
    if vim.v.exiting ~= vim.NIL then
      return
    end
    local how = signal ~= 0 and ('signal %d'):format(signal) or ('code %d'):format(code)
    if since and vim.uv.now() - since > (config.restart_after_s or RESTART_AFTER_S) * 1000 then
      tell(('the server has ended (%s) and is started again.'):format(how), vim.log.levels.WARN)
      M.restart()
    else
      tell(('the server has ended (%s). :checkhealth glm_lsp says more, :GlmRestart starts it again.'):format(how),
        vim.log.levels.ERROR)
    end
  end)
end

--- End the server, if there is one, and start another for all buffers that had it.
function M.restart()
  vim.lsp.enable(config.NAME, false)
  local patience = 100
  local function again()
    local alive = vim.lsp.get_clients({ name = config.NAME })
    patience = patience - 1
    if #alive == 0 then
      vim.lsp.enable(config.NAME)
    else
      if patience == 0 then
        for _, client in ipairs(alive) do
          client:stop(true)
        end
      end
      vim.defer_fn(again, 50)
    end
  end
  vim.schedule(again)
end

--- Completions of this buffer on or off.
function M.toggle()
  tell(suggest.toggle() and 'completions are on in this buffer.' or 'completions are off in this buffer.')
end

--- What the server says of itself, in a window.
function M.status()
  local client = M.client()
  if not client then
    return tell('no server is attached here. :checkhealth glm_lsp says why.', vim.log.levels.WARN)
  end
  status.refresh(client, function(known)
    local lines = {}
    for name, value in vim.spairs(known) do
      local text = type(value) == 'table' and vim.json.encode(value) or tostring(value)
      lines[#lines + 1] = ('%-16s %s'):format(name, text)
    end
    require('glm_lsp.preview').show('glm-lsp status', lines, '')
  end)
end

-- Commands and actions

--- Run a command of the server for the lines `first` to `last`, counted from 1.
---@param kind string
---@param first integer
---@param last integer
---@param instruction? string
function M.run(kind, first, last, instruction)
  local client, bufnr = M.client(), vim.api.nvim_get_current_buf()
  if not client then
    return tell('no server is attached here. :checkhealth glm_lsp says why.', vim.log.levels.WARN)
  end
  local line = vim.api.nvim_buf_get_lines(bufnr, last - 1, last, true)[1]
  client:exec_cmd({
    title = kind,
    command = 'glm-lsp.' .. kind,
    arguments = {
      {
        uri = vim.uri_from_bufnr(bufnr),
        range = {
          start = { line = first - 1, character = 0 },
          ['end'] = { line = last - 1, character = vim.str_utfindex(line, client.offset_encoding) },
        },
        instruction = instruction ~= '' and instruction or nil,
      },
    },
  }, { bufnr = bufnr })
end

--- Send a command. What goes wrong is told by the server itself, but for what it cannot answer.
local function send(command, argument, context, take)
  local client = vim.lsp.get_client_by_id(context.client_id)
  if not client then
    return
  end
  local params = { command = command.command, arguments = { argument } }
  client:request('workspace/executeCommand', params, function(problem, result)
    if problem then
      tell(problem.message, vim.log.levels.ERROR)
    elseif take then
      take(result or {})
    end
  end, context.bufnr)
end

--- The refactor that carries no instruction: ask for it here, the server cannot.
function M.refactor(command, context)
  local argument = vim.deepcopy((command.arguments or {})[1] or {})
  -- A listed action carries its instruction as `argument`, a command of ours as `instruction`.
  if (argument.instruction or argument.argument or '') ~= '' then
    return send(command, argument, context)
  end
  vim.ui.input({ prompt = 'What should change? ' }, function(text)
    text = vim.trim(text or '')
    if text ~= '' then
      argument.instruction = text
      send(command, argument, context)
    end
  end)
end

--- An explanation comes back as a text.
function M.explain(command, context)
  send(command, (command.arguments or {})[1] or vim.empty_dict(), context, function(result)
    if result.text then
      require('glm_lsp.preview').show(command.title or 'Explanation', vim.split(result.text, '\n'), 'markdown')
    end
  end)
end

--- `workspace/applyEdit`: shown as a diff first, unless `preview` is off.
function M.edit(_, params, context)
  local client = assert(vim.lsp.get_client_by_id(context.client_id))
  if not config.get().preview then
    return require('glm_lsp.preview').apply(params, client.offset_encoding)
  end
  return require('glm_lsp.preview').propose(params, client.offset_encoding)
end

return M
