--- A window below the others, never entered by itself: edits as a diff before they are applied, explanations.
local M = {}

local KEYS = { apply = 'a', discard = 'q' }
local HEIGHT = 0.4
--- Share of the screen that the window may take.
local DISCARDED = 'discarded'
--- A reason that the server knows: nobody has to be told of it.

---@class glm_lsp.Proposal
---@field resume fun(apply: boolean)
---@field window integer
local proposal ---@type glm_lsp.Proposal?

--- A scratch window with `lines`; the cursor stays where it is.
local function open(name, lines, filetype)
  local bufnr = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(bufnr, 0, -1, false, lines)
  vim.bo[bufnr].bufhidden, vim.bo[bufnr].modifiable, vim.bo[bufnr].swapfile = 'wipe', false, false
  local window = vim.api.nvim_open_win(bufnr, false, {
    split = 'below',
    win = -1,
    height = math.max(3, math.min(#lines, math.floor(vim.o.lines * HEIGHT))),
  })
  vim.wo[window][0].winbar = name:gsub('%%', '%%%%')
  vim.wo[window][0].number, vim.wo[window][0].signcolumn, vim.wo[window][0].wrap = false, 'no', filetype ~= 'diff'
  -- `syntax` and no `filetype`: whatever others do for files of this type does not belong to what a model wrote.
  vim.bo[bufnr].syntax = filetype
  return bufnr, window
end

local function close(window)
  if vim.api.nvim_win_is_valid(window) then
    vim.api.nvim_win_close(window, true)
  end
end

--- Show a text; `q` closes it.
---@param name string
---@param lines string[]
---@param filetype string
function M.show(name, lines, filetype)
  local bufnr, window = open(name, lines, filetype)
  vim.keymap.set('n', KEYS.discard, function()
    close(window)
  end, { buffer = bufnr, nowait = true })
end

--- The edits of each document, by URI, whichever way they were sent.
---@return table<string, lsp.TextEdit[]>
local function edits_of(edit)
  local found = {} ---@type table<string, lsp.TextEdit[]>
  for uri, edits in pairs(edit.changes or {}) do
    found[uri] = edits
  end
  for _, change in ipairs(edit.documentChanges or {}) do
    if change.textDocument then
      found[change.textDocument.uri] = vim.list_extend(found[change.textDocument.uri] or {}, change.edits)
    end
  end
  return found
end

--- The text of a document as Neovim has it, without opening it in a window.
local function lines_of(uri)
  local bufnr = vim.uri_to_bufnr(uri)
  vim.fn.bufload(bufnr)
  return bufnr, vim.api.nvim_buf_get_lines(bufnr, 0, -1, false)
end

--- The diff of one document's edits.
local function diff_of(uri, edits, encoding)
  local bufnr, before = lines_of(uri)
  local scratch = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(scratch, 0, -1, false, before)
  vim.lsp.util.apply_text_edits(vim.deepcopy(edits), scratch, encoding)
  local after = vim.api.nvim_buf_get_lines(scratch, 0, -1, false)
  vim.api.nvim_buf_delete(scratch, { force = true })
  local name = vim.fn.fnamemodify(vim.uri_to_fname(uri), ':.')
  local diff = (vim.text and vim.text.diff or vim.diff)(
    table.concat(before, '\n') .. '\n',
    table.concat(after, '\n') .. '\n',
    { ctxlen = 3 }
  ) --[[@as string]]
  local lines = { '--- ' .. name, '+++ ' .. name }
  vim.list_extend(lines, vim.split(vim.trim(diff), '\n'))
  return bufnr, lines
end

--- Apply an edit now; the result that the server waits for.
function M.apply(params, encoding)
  local done, problem = pcall(vim.lsp.util.apply_workspace_edit, params.edit, encoding)
  return { applied = done, failureReason = not done and tostring(problem) or nil }
end

--- Show an edit, wait for a decision without blocking anything, and do what was decided.
---
--- To be called in a coroutine, as Neovim calls handlers of requests.
function M.propose(params, encoding)
  if proposal then
    proposal.resume(false)
  end
  local ticks, lines = {}, {}
  for uri, edits in vim.spairs(edits_of(params.edit)) do
    local bufnr, diff = diff_of(uri, edits, encoding)
    ticks[bufnr] = vim.api.nvim_buf_get_changedtick(bufnr)
    vim.list_extend(lines, diff)
  end
  local title = params.label or 'Edit'
  local bufnr, window = open((' %s: a or :GlmApply, q or :GlmDiscard'):format(title), lines, 'diff')

  local waiting = assert(coroutine.running())
  local mine = {} ---@type glm_lsp.Proposal
  mine.window = window
  function mine.resume(apply)
    if proposal == mine then
      proposal = nil
      close(window)
      coroutine.resume(waiting, apply)
    end
  end
  proposal = mine
  for name, key in pairs(KEYS) do
    vim.keymap.set('n', key, function()
      mine.resume(name == 'apply')
    end, { buffer = bufnr, nowait = true })
  end
  vim.api.nvim_create_autocmd('WinClosed', {
    pattern = tostring(window),
    once = true,
    callback = function()
      vim.schedule(function()
        mine.resume(false)
      end)
    end,
  })

  if not coroutine.yield() then
    return { applied = false, failureReason = DISCARDED }
  end
  for shown, tick in pairs(ticks) do
    if not vim.api.nvim_buf_is_valid(shown) or vim.api.nvim_buf_get_changedtick(shown) ~= tick then
      return { applied = false, failureReason = 'the text has changed since the edit was shown' }
    end
  end
  return M.apply(params, encoding)
end

--- Decide about the edit that is shown.
---@param apply boolean
function M.decide(apply)
  if proposal then
    proposal.resume(apply)
  else
    vim.notify('glm-lsp: no edit is shown.', vim.log.levels.WARN)
  end
end

return M
